"""A PostgreSQL server of the suite's own, which can be paused, killed and restarted."""

import asyncio
import os
import secrets
import shutil
import signal
import tempfile
from pathlib import Path

from conformance.process import Process, StartError, eventually, free_port, run

USER = "service"


_PROGRAMS = ("initdb", "postgres", "psql", "pg_isready")


def find_binaries() -> Path | None:
    """Return the directory of PostgreSQL's programs, or None when it is not installed."""
    found = shutil.which("initdb")
    candidates = [Path(found).resolve().parent] if found else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next(
        (path for path in candidates if all((path / name).exists() for name in _PROGRAMS)), None
    )


def _scratch() -> str | None:
    """Return a directory in memory when there is one with room: every instance has a database of its own."""
    memory = Path("/dev/shm")  # noqa: S108
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2 * 1024**3
    return str(memory) if roomy and "TMPDIR" not in os.environ else None


class Postgres:
    """One server with a data directory that goes away with it."""

    def __init__(self, password: str | None = None) -> None:
        self.password = password or secrets.token_hex(8)
        self.port = free_port()
        self._process: Process | None = None
        self._directory: Path | None = None
        binaries = find_binaries()
        if binaries is None:
            raise StartError("PostgreSQL is not installed: initdb was not found")
        self._binaries = binaries
        self._user = "postgres" if os.geteuid() == 0 else None
        self._count = 0

    async def start(self) -> None:
        """Create the data directory and start the server."""
        self._directory = Path(tempfile.mkdtemp(prefix="conformance-postgres-", dir=_scratch()))
        secret = self._directory / "password"
        secret.write_text(self.password)
        if self._user:
            for path in (self._directory, secret):
                shutil.chown(path, self._user)
        initdb = [
            str(self._binaries / "initdb"),
            "-D",
            str(self._directory / "data"),
            "-U",
            USER,
            "-A",
            "scram-sha-256",
        ]
        done = await run(
            [*initdb, "--pwfile", str(secret), "-N", "-E", "UTF8"], self._env(), "/", 30, self._user
        )
        if done.returncode != 0:
            raise StartError("initdb failed", done.tail())
        await self.restart()

    async def restart(self) -> None:
        """Start the server on the existing data and wait until it answers."""
        assert self._directory is not None
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self._directory,
            "fsync": "off",
            "full_page_writes": "off",
            "max_connections": 300,
            "shared_buffers": "32MB",
        }
        argv = [str(self._binaries / "postgres"), "-D", str(self._directory / "data")]
        for key, value in options.items():
            argv += ["-c", f"{key}={value}"]
        self._process = Process(argv, self._env(), "/", self._user)
        await self._process.start()
        if not await eventually(lambda: self._answers(), within=15, interval=0.05):
            raise StartError("PostgreSQL did not come up", self._process.tail())

    async def _answers(self) -> bool:
        ready = [str(self._binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return (await run(ready, self._env(), "/")).returncode == 0

    async def execute(self, sql: str, database: str = "postgres") -> list[str]:
        """Run SQL and return the rows as text, one string a row.

        Raises:
            StartError: the server refused the statement.
        """
        argv = [
            str(self._binaries / "psql"),
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-U",
            USER,
            "-d",
            database,
        ]
        done = await run([*argv, "-v", "ON_ERROR_STOP=1", "-qAtX", "-c", sql], self._env(), "/")
        if done.returncode != 0:
            raise StartError(f"SQL failed: {sql[:80]}", done.tail())
        return [line.decode().rstrip("\n") for line in done.stdout]

    async def create_database(self, template: str = "template1") -> str:
        """Create a database and return its name."""
        self._count += 1
        name = f"conformance_{self._count}"
        await self.execute(f'CREATE DATABASE {name} TEMPLATE "{template}"')
        return name

    def pause(self) -> None:
        """Stop the server and all its sessions where they are: connections stay, answers do not come."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        self._signal_all(signal.SIGCONT)

    def kill(self) -> None:
        """Stop the server at once, as a crash does; `restart` brings it back."""
        self._signal_all(signal.SIGCONT)
        if self._process:
            self._process.send(signal.SIGQUIT)

    def _signal_all(self, number: signal.Signals) -> None:
        if self._process is None or not self._process.running:
            return
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        pids = [int(pid) for pid in children.read_text().split()] if children.exists() else []
        for pid in (self._process.pid, *pids):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    async def stop(self) -> None:
        """Stop the server and remove everything it wrote."""
        try:
            if self._process is not None:
                self.resume()
                await asyncio.shield(self._process.stop(signal.SIGQUIT, patience=3))
        finally:
            if self._directory is not None:
                shutil.rmtree(self._directory, ignore_errors=True)

    def _env(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "LC_ALL": "C.UTF-8",
            "PGPASSWORD": self.password,
            "TZ": "UTC",
        }
