"""A service takes the chassis by docs/adopting.md: its files stay its own, its callers notice what the page says."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.adoption import guide
from tests.adoption.services import BLOG, SERVICES, Service, Workshop, play
from tests.harness import ROOT, Renderer, files, git

Directory = Callable[[Service], Path]

each_service = pytest.mark.parametrize("service", SERVICES, ids=lambda service: str(service.name))


@each_service
def test_nothing_of_the_service_is_touched(
    service: Service, adopted: Directory, workshop: Workshop
) -> None:
    """After step 2 its own files are what they were, but for the line in requirements.txt."""
    directory = adopted(service)
    start, taken_in = git(directory, "rev-list", "--reverse", "HEAD").split()[:2]
    changed = git(directory, "diff", "--name-status", start, taken_in).splitlines()
    assert [line for line in changed if not line.startswith("A\t")] == ["M\trequirements.txt"]
    added = {line.removeprefix("A\t").split("/")[0] for line in changed if line.startswith("A")}
    parts = set(service.parts.strip("[]").split(", "))
    assert added == {*parts, ".copier-answers.yml"}


@each_service
def test_what_comes_is_what_a_new_service_has(
    service: Service, adopted: Directory, renderer: Renderer, tmp_path: Path
) -> None:
    """Byte for byte: the same tests, manifests and alerts."""
    answers = {k: yaml.safe_load(str(v)) for k, v in service.answers.items()}
    fresh = files(renderer(tmp_path / "new", {"service_name": service.name, **answers}))
    came = [name for name in fresh if name.startswith(("chassis/", "deploy/", "docs/"))]
    have = files(adopted(service))
    assert len(came) > 80
    assert [name for name in came if have.get(name) != fresh[name]] == []


@each_service
def test_callers_notice_nothing_but_the_errors(
    service: Service, begun: Directory, adopted: Directory
) -> None:
    """The same requests, the same answers, apart from those that the exchanges list as other."""
    other = [exchange for exchange in service.exchanges() if "after" in exchange]
    assert all(exchange["before"][0] >= 400 for exchange in other)
    assert play(service, begun(service), adopted=False) == []
    assert play(service, adopted(service), adopted=True) == []


@each_service
def test_own_programs_follow_the_page(service: Service) -> None:
    """The program is the page's, with the line that stands for all."""
    serve = (service.folder / "adopted/serve.py").read_text()
    ends = guide.program().split('if __name__ == "__main__":\n')[1]
    assert serve.endswith(ends)
    assert "    chassis.install(app, settings)\n" in serve


def test_the_page_switches_on_what_the_chassis_does() -> None:
    """The page's lines are those of `chassis.install`: none is missing, none is of yesterday."""
    source = (ROOT / "template/chassis/src/chassis/__init__.py").read_text()
    install = source.split("def install(")[1].split("\ndef ")[0]
    of_chassis = [line.strip() for line in install.splitlines() if ".install" in line]
    of_page = [line.replace("parts.", "chassis.") for line in guide.composition()]
    assert of_chassis == of_page[1:-1]
    assert sorted(guide.improvements()) == sorted(guide.composition()[1:-1])


def test_the_chassis_s_tests_run_in_it(adopted: Directory, workshop: Workshop) -> None:
    """By the page's command; here for some of them, the rest runs in every fresh render."""
    install, test = guide.commands("pip install './chassis[dev]'")
    workshop.run(install, adopted(BLOG))
    said = workshop.run(f"{test}/test_install.py -q -p no:cacheprovider", adopted(BLOG))
    assert " passed" in said and "failed" not in said


OWN_DATABASE = """
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import chassis
from chassis import health
from chassis.configuration import load
from chassis.lifecycle import Resources
from fastapi import FastAPI
from fastapi.testclient import TestClient
from settings import Settings


class UserServiceDatabase:
    def __init__(self, settings):
        self.down = False

    async def ping(self):
        if self.down:
            raise ConnectionError

    async def close(self):
        print("closed")


{lifespan}

app = FastAPI(lifespan=lifespan, telemetry=chassis.NATIVE_TELEMETRY_OFF)
app.state.settings = load(Settings)
parts = chassis.prepare(app, app.state.settings)
health.install(app, parts.health, parts.lifecycle)
health.CACHE_SECONDS = 0
with TestClient(app) as client:
    print(client.get("/health/ready").json()["checks"])
    app.state.db.down = True
    print(client.get("/health/ready").status_code)
"""


def test_a_database_of_its_own_is_asked_and_closed(adopted: Directory, workshop: Workshop) -> None:
    """By the page's lifespan, whatever library the service uses."""
    (lifespan,) = (block for block in guide.blocks("python") if "UserServiceDatabase" in block)
    script = f"cat <<'EOF' | python -\n{OWN_DATABASE.format(lifespan=lifespan)}\nEOF"
    said = workshop.run(script, adopted(BLOG)).splitlines()
    assert "{'database': {'status': 'healthy'}}" in said
    assert said[-2:] == ["503", "closed"]


def test_existing_files_win(workshop: Workshop, tmp_path: Path) -> None:
    """A file of the service that is called like one of the template's is kept."""
    directory = workshop.begin(BLOG, tmp_path / BLOG.name)
    mine = {"renovate.json": "{}\n", "docs/runbooks.md": "mine\n"}
    (directory / "docs").mkdir()
    for name, text in mine.items():
        (directory / name).write_text(text)
    workshop.take_in(BLOG, directory)
    assert {name: (directory / name).read_text() for name in mine} == mine
    assert (directory / "chassis/src/chassis/service.toml").is_file()
