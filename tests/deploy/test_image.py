"""The image: what is in it, and that it runs as the manifests run it."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import manifests
from tests.deploy.conftest import PYTHON_VERSION, Stack
from tests.deploy.engine import Engine
from tests.deploy.tools import output, tool

MEGABYTE = 1_000_000
LIMIT = 100 * MEGABYTE
DRAIN_SECONDS = 5
NETWORK = "user-service_default"
"""Of compose.yaml's project."""
OF_NO_USE = ("ensurepip._bundled", "flit_core", "pip", "pytest", "setuptools", "wheel")

engine_test = [pytest.mark.slow, pytest.mark.xdist_group("engine")]


def engine(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that needs the engine."""
    for mark in engine_test:
        test = mark(test)
    return test


def test_hadolint_has_no_complaint(service: Path) -> None:
    output(tool("hadolint"), service / "Dockerfile")


def test_the_dockerfile_needs_no_buildkit(service: Path) -> None:
    text = (service / "Dockerfile").read_text()
    for feature in ("# syntax=", "--mount=", "<<", "--link", "--chmod"):
        assert feature not in text


@engine
def test_the_image_adds_little_to_its_base(docker: Engine, image: str) -> None:
    base = docker.inspect(f"python:{PYTHON_VERSION}-slim")["Size"]
    added = docker.inspect(image)["Size"] - base
    history = docker.call("history", "--human=false", "--format={{.Size}} {{.CreatedBy}}", image)
    assert added < LIMIT, f"{added / MEGABYTE:.1f} MB\n{history.stdout}"


@engine
def test_the_image_says_what_it_is(docker: Engine, image: str, deployed: Path) -> None:
    config = docker.inspect(image)["Config"]
    assert config["User"] == "10001:10001"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Entrypoint"] == ["python", "-m", "app"]
    assert config["Healthcheck"]["Test"][:2] == ["CMD", "python"]
    assert "OTEL_SEMCONV_STABILITY_OPT_IN=http,database" in config["Env"]
    labels = {name.rpartition(".")[2]: value for name, value in config["Labels"].items()}
    assert labels["title"] == "user-service"
    assert labels["description"] == "The user-service microservice."
    assert labels["version"] == labels["revision"] == "unknown", "build arguments"


@engine
def test_the_image_holds_only_what_runs(docker: Engine, image: str) -> None:
    look = (
        "import importlib.util, pathlib\n"
        f"for name in {OF_NO_USE}:\n"
        "    if '.' not in name and importlib.util.find_spec(name): print(name)\n"
        "for top in '/app', '/venv':\n"
        "    for path in pathlib.Path(top).rglob('*.py'):\n"
        "        cached = path.parent.joinpath('__pycache__').glob(path.stem + '.*.pyc')\n"
        "        if '/migrations/' not in str(path) and path.name != 'healthcheck.py':\n"
        "            if not any(cached): print('no bytecode:', path)\n"
        "for name in 'app/.env', 'app/tests', 'app/.git', 'src', 'build': \n"
        "    if pathlib.Path('/', name).exists(): print(name)\n"
    )
    assert docker.docker("run", "--rm", "--entrypoint=python", image, "-c", look) == ""


@engine
def test_the_health_check_fails_when_nobody_answers(docker: Engine, image: str) -> None:
    command = docker.inspect(image)["Config"]["Healthcheck"]["Test"]
    done = docker.call("run", "--rm", f"--entrypoint={command[1]}", image, *command[2:])
    assert done.returncode == 1


@engine
def test_wrong_configuration_ends_at_once(docker: Engine, image: str) -> None:
    """S3: the image on its own is production, with everything that production asks for."""
    name = docker.docker("create", "--read-only", "--network=none", image)
    done = docker.call("start", "--attach", name)
    state = docker.inspect(name)["State"]
    docker.docker("rm", name)
    assert (done.returncode, done.stderr) == (78, "")
    begun, ended = (datetime.fromisoformat(state[f"{when}At"]) for when in ("Started", "Finished"))
    assert (ended - begun).total_seconds() < 5
    last = json.loads(done.stdout.splitlines()[-1])
    named = {problem["variable"] for problem in last["problems"]}
    assert named == {"ALLOWED_ORIGINS", "DATABASE_URL", "REDIS_URL"}


@dataclass(frozen=True, slots=True)
class Container:
    """A container of the image, run as production's manifests say."""

    docker: Engine
    name: str
    url: str

    def python(self, code: str) -> str:
        """Run Python inside."""
        return self.docker.docker("exec", self.name, "python", "-c", code)

    def status(self, path: str) -> int:
        """Ask the service."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}") as answer:  # noqa: S310
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def wait_for(self, what: Callable[[], bool], seconds: float = 30) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, self.docker.call("logs", self.name).stdout
            time.sleep(0.1)

    def lines(self) -> list[dict[str, Any]]:
        """What it logged; nothing may stand on stderr (L1)."""
        logs = self.docker.call("logs", self.name)
        assert logs.stderr == ""
        return [json.loads(line) for line in logs.stdout.splitlines()]


@pytest.fixture
def production(deployed: Path) -> Sequence[manifests.Manifest]:
    """Production's manifests."""
    return manifests.build(deployed / "deploy/kubernetes/overlays/production")


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """A secret as a kubelet mounts it: links to a directory whose name changes with the content."""
    values = {
        "DATABASE_URL": "postgresql://app:app@postgres:5432/app",
        "REDIS_URL": "redis://redis:6379/0",
    }
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..data").symlink_to("..2026")
    for name, value in values.items():
        (tmp_path / "..2026" / name).write_text(value)
        (tmp_path / name).symlink_to(f"..data/{name}")
    # A kubelet gives it to the pod's group; the temporary directory's owner differs.
    tmp_path.chmod(0o755)
    return tmp_path


@contextmanager
def run(docker: Engine, image: str, options: Sequence[str], port: int) -> Iterator[Container]:
    """Run a container beside the stack's servers."""
    container = docker.docker(
        *("run", "--detach", f"--network={NETWORK}"),
        *(f"--publish=127.0.0.1::{port}", "--health-interval=1s", *options, image),
    )
    try:
        address = docker.docker("port", container, str(port))
        yield Container(docker, container, f"http://{address}")
    finally:
        docker.docker("rm", "--force", container)


@engine
def test_migrates_as_often_as_asked(
    docker: Engine,
    image: str,
    stack: Stack,
    production: Sequence[manifests.Manifest],
    secrets: Path,
) -> None:
    (init,) = manifests.pod(production)["initContainers"]
    options = manifests.run_options(production, init, secrets)
    for _ in range(2):
        done = docker.call(*("run", "--rm", f"--network={NETWORK}", *options, image, *init["args"]))
        assert done.returncode == 0, done.stdout
        assert json.loads(done.stdout.splitlines()[-1])["message"] == "migrated"


@engine
def test_runs_as_the_manifests_say_and_stops_in_time(
    docker: Engine,
    image: str,
    stack: Stack,
    production: Sequence[manifests.Manifest],
    secrets: Path,
) -> None:
    spec = manifests.pod(production)
    (container,) = spec["containers"]
    options = manifests.run_options(production, container, secrets)
    port = container["ports"][0]["containerPort"]
    with run(docker, image, options, port) as service:
        service.wait_for(
            lambda: docker.inspect(service.name)["State"]["Health"]["Status"] == "healthy"
        )
        assert service.status("/health/ready") == 200
        assert service.status("/items") == 200
        status = dict(
            line.split(":", 1)
            for line in service.python("print(open('/proc/1/status').read())").splitlines()
        )
        assert status["Uid"].split() == ["10001"] * 4
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
        assert status["NoNewPrivs"].strip() == "1"
        write = docker.call("exec", service.name, "python", "-c", "open('/app/x', 'w')")
        assert "Read-only file system" in write.stderr
        leaked = "import os; print('DATABASE_URL' in os.environ)"
        assert service.python(leaked) == "False"

        begun = time.monotonic()
        docker.docker("stop", f"--time={spec['terminationGracePeriodSeconds']}", service.name)
        took = time.monotonic() - begun
        assert docker.inspect(service.name)["State"]["ExitCode"] == 0
        assert DRAIN_SECONDS <= took < DRAIN_SECONDS + 5
        lines = service.lines()
        assert {line["environment"] for line in lines} == {"production"}
        assert lines[-1]["message"] == "service_stopped"
        assert "app:app" not in json.dumps(lines)
