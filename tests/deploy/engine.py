"""A Docker engine: the one that is there, or one started by hand for the tests."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deploy import standins
from tests.deploy.tools import call, output, tool, unavailable

START_SECONDS = 30
ROOM = 4 * 1024**3


@dataclass(frozen=True, slots=True)
class Engine:
    """How to talk to an engine.

    Attributes:
        environment: variables for docker and docker-compose.
        own: started here, so it has no image that was not made here.
    """

    environment: Mapping[str, str]
    own: bool

    def call(self, *arguments: str, timeout: float = 600) -> "subprocess.CompletedProcess[str]":
        """Run docker; the caller judges the exit code."""
        return call(tool("docker"), *arguments, environment=self.environment, timeout=timeout)

    def docker(self, *arguments: str, timeout: float = 600) -> str:
        """Run docker, which has to succeed, and return what it printed."""
        return output(
            tool("docker"), *arguments, environment=self.environment, timeout=timeout
        ).strip()

    def inspect(self, name: str) -> dict[str, Any]:
        """Everything the engine knows about a container or image."""
        found: list[dict[str, Any]] = json.loads(self.docker("inspect", name))
        return found[0]

    def build(self, context: Path, tag: str) -> str:
        """Build an image with the network of the host, where an index may be."""
        # With what every engine has: no BuildKit.
        output(
            *(tool("docker"), "build", "--network=host", "--tag", tag, "."),
            directory=context,
            environment={**self.environment, "DOCKER_BUILDKIT": "0"},
            timeout=1200,
        )
        return tag

    def provide(self, name: str, standin: standins.StandIn, cache: Path) -> None:
        """See to it that the engine has image `name`: pulled, or made here."""
        if self.call("image", "inspect", name).returncode:
            if self.own:
                standins.make(name, standin, cache, self.environment)
            else:
                self.docker("pull", "--quiet", name)


@contextmanager
def running() -> Iterator[Engine]:
    """An engine, started by hand when none answers; stopped again without a trace."""
    if call(tool("docker"), "version").returncode == 0:
        yield Engine({}, own=False)
        return
    if os.geteuid() != 0:
        unavailable("no Docker engine answers, and starting one takes root")
    dockerd = tool("dockerd")
    # Short, since a socket's path has at most 107 characters.
    work = Path(tempfile.mkdtemp(prefix="deploy-", dir=roomy_memory()))
    host = f"unix://{work}/docker.sock"
    command = [
        *(dockerd, f"--host={host}", f"--data-root={work}/data", f"--exec-root={work}/exec"),
        f"--pidfile={work}/docker.pid",
    ]
    with (work / "dockerd.log").open("w") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        engine = Engine({"DOCKER_HOST": host, "DOCKER_CONTEXT": "default"}, own=True)
        wait_until_up(engine, daemon, work / "dockerd.log")
        yield engine
        remove_containers(engine)
    finally:
        stop(daemon, work)


def roomy_memory() -> str | None:
    """Where files live in memory, if there is room: images are hundreds of thousands of files."""
    memory = Path("/dev/shm")  # noqa: S108
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > ROOM
    return str(memory) if roomy else None


def wait_until_up(engine: Engine, daemon: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while engine.call("version").returncode:
        if daemon.poll() is not None or time.monotonic() > deadline:
            unavailable(f"dockerd does not start here: {log.read_text()[-2000:]}")
        time.sleep(0.2)


def remove_containers(engine: Engine) -> None:
    """Leave none behind: their processes outlive the engine."""
    if left := engine.docker("ps", "--all", "--quiet").split():
        engine.docker("rm", "--force", "--volumes", *left)


def stop(daemon: "subprocess.Popen[bytes]", work: Path) -> None:
    """End the engine by its process, then take away what it mounted and wrote."""
    daemon.send_signal(signal.SIGTERM)
    try:
        daemon.wait(timeout=30)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounted if m.startswith(f"{work}/")), reverse=True):
        call("umount", mount)
    shutil.rmtree(work, ignore_errors=True)
