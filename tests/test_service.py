"""A rendered service installs, passes its own checks and tests, and its commands do what they say.

With TEST_DATABASE_URL and TEST_REDIS_URL in the environment, its tests also run on those servers.
"""

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.harness import BARE, DEFAULT, Answers, Service, git, run

Installed = Callable[[Answers], Service]

pytestmark = pytest.mark.slow
COMBINATIONS = [
    pytest.param(DEFAULT, id="default", marks=pytest.mark.xdist_group("default")),
    pytest.param(BARE, id="bare", marks=pytest.mark.xdist_group("bare")),
]


@pytest.fixture(params=COMBINATIONS)
def service(request: pytest.FixtureRequest, installed: Installed) -> Iterator[Service]:
    """An installed service; what a test changes in its files is undone."""
    service = installed(request.param)
    yield service
    git(service.path, "checkout", "--quiet", ".")
    git(service.path, "clean", "--quiet", "--force")


def test_checks_pass(service: Service) -> None:
    """Lint, format, types, layers, locks and `.env.example` are right in a fresh render."""
    service.make("check")


def test_own_tests_pass(service: Service) -> None:
    """The service's own tests pass, also on real servers when there are some, with coverage."""
    output = service.make("test")
    assert output.count(" passed") == 2
    assert "TOTAL" in output
    if "sqlalchemy" in (service.path / "requirements.lock").read_text():
        assert ("SQLite and TEST_DATABASE_URL" in output) == ("TEST_DATABASE_URL" in os.environ)


@pytest.mark.parametrize(
    ("own", "chassis", "least", "complaint"),
    [
        (True, True, 0, None),
        (False, True, 0, "FAILED tests/test_planted.py"),
        (True, False, 0, "FAILED chassis/tests/test_planted.py"),
        (True, True, 90, "less than fail-under=90"),
    ],
    ids=["nothing", "own", "chassis", "coverage"],
)
def test_tests_complain(
    own: bool, chassis: bool, least: int, complaint: str | None, service: Service
) -> None:
    """`make test` fails when a test of the service or of the chassis does, or when too little is covered."""
    (service.path / "tests/test_planted.py").write_text(f"def test_planted(): assert {own}\n")
    (service.path / "chassis/tests/test_planted.py").write_text(
        f"def test_planted(): assert {chassis}\n"
    )
    project = service.path / "pyproject.toml"
    project.write_text(project.read_text().replace("fail_under = 90", f"fail_under = {least}"))
    only = {"PYTEST_ADDOPTS": "-k test_planted"}
    if complaint is None:
        run(["make", "test"], service.path, only)
    else:
        with pytest.raises(AssertionError, match=complaint):
            run(["make", "test"], service.path, only)


def test_formatting_and_generating_change_nothing(service: Service) -> None:
    """`make format`, `make env` and `make lock` reproduce what was rendered."""
    service.make("format")
    service.make("env")
    service.make("lock")
    assert git(service.path, "status", "--porcelain") == ""


def test_installing_twice_does_nothing(service: Service) -> None:
    """`make install` installs only when the locks changed."""
    service.make("install")
    assert "Installing" not in service.make("install")


def test_help_lists_every_command(service: Service) -> None:
    """`make` alone explains itself, with the targets that the documentation names."""
    listed = {line.split()[1] for line in service.make().splitlines() if line.startswith("make ")}
    assert {"install", "run", "test", "check", "format", "lock", "env", "update"} <= listed
    assert {"drift", "up", "down", "clean"} <= listed
    assert ("migration" in listed) == (service.path / "migrations").exists()


def test_service_imports_nothing_of_the_outside(service: Service) -> None:
    """The service runs from its own files."""
    output = subprocess.run(
        [".venv/bin/python", "-c", "import chassis, app; print(chassis.__file__, app.__file__)"],
        cwd=service.path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for path in output.split():
        assert path.startswith(str(service.path.resolve()))


@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        (
            "pyproject.toml",
            '    "chassis",\n',
            '    "chassis",\n    "flask>=3",\n',
            "flask is needed",
        ),
        ("requirements.lock", "click==", "clack==", "click is needed"),
        (".env.example", "LOG_LEVEL=INFO", "LOG_LEVEL=DEBUG", ".env.example is stale"),
        ("src/app/__init__.py", "", "import os\n", "F401"),
        ("chassis/src/chassis/service.py", '"""', 'import app\n\n"""', "app"),
    ],
    ids=["dependency", "lock", "env", "lint", "layers"],
)
def test_check_complains(file: str, old: str, new: str, complaint: str, service: Service) -> None:
    """`make check` fails and says why; each of its parts can really fail."""
    path = service.path / file
    changed = path.read_text().replace(old, new, 1)
    path.write_text(changed)
    # The installed metadata is renewed, so that only the file itself is wrong.
    with pytest.raises(AssertionError, match=complaint):
        service.make("check")


def test_tests_leave_nothing_behind(service: Service) -> None:
    """Running the unit tests changes no file that git sees."""
    service.make("test", "ARGS=tests/unit --quiet")
    assert git(service.path, "status", "--porcelain") == ""
