"""An engine, the image built on it, and the stack of compose.yaml that both are tested with."""

import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy import engine, standins
from tests.deploy.engine import Engine
from tests.deploy.tools import call, output, tool
from tests.harness import BARE, DEFAULT, Answers

THIRD: Answers = {
    "service_name": "billing",
    "port": 3000,
    "cache": "none",
    "dependencies": ["auth-service:8080", "stock:9000", "mail:9000"],
    "description": 'Says "$5" and 5 < 6 & \\ so on',
    "namespace": "true",
}
ANSWERS: dict[str, Answers] = {"default": DEFAULT, "bare": BARE, "third": THIRD}
# Debian's Python, which the stand-in has.
PYTHON_VERSION = "3.11"


@pytest.fixture(params=list(ANSWERS))
def service(request: pytest.FixtureRequest, rendered: Callable[[Answers], Path]) -> Path:
    """A render, per set of answers."""
    return rendered(ANSWERS[request.param])


@pytest.fixture(scope="session")
def docker() -> Iterator[Engine]:
    """A Docker engine."""
    with engine.running() as found:
        yield found


@pytest.fixture(scope="session")
def free_port() -> int:
    """A port that is free on this machine, and so is the one for metrics, 1000 further up."""
    for port in range(20000 + os.getpid() % 10000, 64000, 7):
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + 1000))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


@pytest.fixture(scope="session")
def deployed(rendered: Callable[[Answers], Path], free_port: int) -> Path:
    """The render that is built and run."""
    return rendered({"python_version": PYTHON_VERSION, "port": free_port})


@pytest.fixture(scope="session")
def image(docker: Engine, deployed: Path, pytestconfig: pytest.Config) -> str:
    """The built image."""
    cache = pytestconfig.cache.mkdir("stand-ins")
    docker.provide(f"python:{PYTHON_VERSION}-slim", standins.PYTHON, cache)
    return docker.build(deployed, "user-service:local")


@dataclass(frozen=True, slots=True)
class Stack:
    """The slim profile of compose.yaml, up."""

    directory: Path
    environment: Mapping[str, str]
    port: int

    def compose(self, *arguments: str) -> str:
        """Run docker-compose in the render."""
        return output(
            tool("docker-compose"),
            *arguments,
            directory=self.directory,
            environment={**self.environment, "COMPOSE_PROFILES": ""},
        )

    def states(self) -> dict[str, tuple[str, int]]:
        """State and exit code by service, of those that have ended too."""
        lines = self.compose("ps", "--all", "--format=json").splitlines()
        entries = [json.loads(line) for line in lines]
        return {e["Service"]: (e["Health"] or e["State"], e["ExitCode"]) for e in entries}


@pytest.fixture(scope="session")
def stack(
    docker: Engine, image: str, deployed: Path, free_port: int, pytestconfig: pytest.Config
) -> Iterator[Stack]:
    """The slim profile with the built image."""
    cache = pytestconfig.cache.mkdir("stand-ins")
    postgres, redis = (compose_image(deployed, name) for name in ("postgres", "redis"))
    docker.provide(postgres, standins.SERVERS, cache)
    if docker.own:
        docker.docker("tag", postgres, redis)
    stack = Stack(deployed, docker.environment, free_port)
    make = ("make", f"COMPOSE={tool('docker-compose')}")
    try:
        # Built above: Compose would want BuildKit.
        up = (*make, "up", "ARGS=--no-build --wait-timeout=120")
        output(*up, directory=deployed, environment=docker.environment)
        yield stack
    finally:
        down = (*make, "down", "ARGS=--volumes --timeout=5")
        call(*down, directory=deployed, environment=docker.environment)


def compose_image(service: Path, name: str) -> str:
    """The image that compose.yaml pins for one of its services."""
    listed = output(tool("docker-compose"), "config", "--format=json", directory=service)
    image: str = json.loads(listed)["services"][name]["image"]
    return image
