"""The three services: as they were, taken through the page, and run."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from conformance.bench import Bench
from conformance.description import Description, load
from conformance.rig import Rig
from tests.adoption import guide
from tests.harness import commit, run

FIXTURES = Path(__file__).parent / "fixtures"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Service:
    """A service that did not come from here, and what its team answers."""

    name: str
    answers: Mapping[str, object]
    parts: str = guide.PARTS

    @property
    def folder(self) -> Path:
        """Return where its two states and its exchanges are."""
        return FIXTURES / self.name

    def exchanges(self) -> list[dict[str, Any]]:
        """Return what its callers rely on: requests with the answers before and, if other, after."""
        found: list[dict[str, Any]] = json.loads((self.folder / "exchanges.json").read_text())
        return found


NO_SERVERS = {"database": "none", "cache": "none"}
BLOG = Service("blog-service", {"port": 8003, "dependencies": "[]", **NO_SERVERS})
AUTH = Service("auth-service", {"port": 8002, "dependencies": "[user-service:8001]", **NO_SERVERS})
USER = Service(
    "user-service",
    {"port": 8001, "dependencies": "[]"},
    "[chassis, deploy, docs, migrations, renovate.json]",
)
SERVICES = [BLOG, AUTH, USER]


@dataclass(frozen=True, slots=True)
class Workshop:
    """What the page's commands find on a developer's machine: copier, pip, the template.

    uv stands in for pip: what the services need is installed before, from the default render's lock.
    """

    template: Path
    lock: Path
    programs: Path

    def __post_init__(self) -> None:
        pip = self.programs / "pip"
        pip.write_text('#!/bin/sh\nexec uv pip "$@"\n')
        pip.chmod(0o755)

    def begin(self, service: Service, directory: Path) -> Path:
        """Make the service as it was, in a repository and an environment of its own."""
        shutil.copytree(service.folder / "before", directory)
        commit(directory)
        self.run(f"uv venv --quiet --python {sys.executable} .venv", directory)
        self.run(f"uv pip sync --quiet --require-hashes {self.lock}", directory, offline=False)
        return directory

    def follow(self, commands: list[str], service: Service, directory: Path) -> None:
        """Run commands of the page as a team would, with its answers."""
        data = {"service_name": service.name, **service.answers}
        given = " ".join(f"--data '{name}={answer}'" for name, answer in data.items())
        for command in commands:
            line = command.replace("<template>", str(self.template))
            line = line.replace(guide.PARTS, service.parts)
            for verb in ("copy", "update"):
                options = f"--defaults --quiet --vcs-ref=HEAD {given if verb == 'copy' else ''}"
                line = line.replace(f"copier {verb}", f"copier {verb} {options}")
            self.run(line, directory)

    def run(self, command: str, directory: Path, *, offline: bool = True) -> str:
        """Run a command line in the service's directory."""
        path = os.pathsep.join(
            [str(self.programs), f"{directory}/.venv/bin", str(Path(sys.executable).parent)]
        )
        environment = {
            "PATH": f"{path}{os.pathsep}{os.environ['PATH']}",
            "UV_NO_BUILD_ISOLATION": "1",
            "UV_OFFLINE": str(int(offline)),
        }
        return run(["sh", "-c", command], directory, environment)

    def take_in(self, service: Service, directory: Path) -> None:
        """Follow step 2: the chassis is there, and nothing uses it."""
        self.follow(guide.commands("copier copy"), service, directory)

    def adopt(self, service: Service, directory: Path) -> None:
        """Do by hand what steps 3 to 6 ask for: it stands in `adopted/`."""
        shutil.copytree(service.folder / "adopted", directory, dirs_exist_ok=True)
        (directory / "migrations/versions/0001_items.py").unlink(missing_ok=True)
        self.run("git add --all && git commit --quiet --message Adopt", directory)


def with_service(description: Description, use: Callable[[Rig], Awaitable[T]], **env: str) -> T:
    """Start a service on real servers of its own, use it, and stop everything."""

    async def start() -> T:
        bench = Bench(description)
        try:
            async with bench.fresh(env) as rig:
                return await use(rig)
        finally:
            await bench.close()

    return asyncio.run(start())


def play(service: Service, directory: Path, *, adopted: bool) -> list[str]:
    """Send what the service's callers send, and return every answer that is not the expected one."""

    async def converse(rig: Rig) -> list[str]:
        problems, token = [], ""
        for exchange in service.exchanges():
            method, _, path = exchange["request"].partition(" ")
            behave(rig, exchange.get("dependency"))
            headers = {k: v.format(token=token) for k, v in exchange.get("headers", {}).items()}
            answer = await rig.client.request(
                method, path, json=exchange.get("json"), headers=headers
            )
            body = answer.text if answer.json() is None else answer.json()
            token = answer.object().get("token", token)
            key = "after" if adopted and "after" in exchange else "before"
            status, wanted = exchange[key]
            if answer.status != status or not matches(wanted, body):
                problems.append(f"{exchange['request']} is {answer.status} {body!r}")
        return problems

    return with_service(load(directory / "conformance.toml"), converse)


def behave(rig: Rig, kind: object) -> None:
    """Let the dependency answer with a status, or break the connection."""
    if isinstance(kind, int):
        rig.dependency.mode, rig.dependency.status = "answer", kind
    elif kind == "reset":
        rig.dependency.mode = "reset"


def matches(wanted: object, found: object) -> bool:
    """Compare, where `*` stands for anything."""
    if wanted == "*":
        return True
    if isinstance(wanted, dict) and isinstance(found, dict):
        return wanted.keys() == found.keys() and all(
            matches(value, found[key]) for key, value in wanted.items()
        )
    return wanted == found
