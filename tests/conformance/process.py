"""Child processes that never outlive the suite, with their output read line by line."""

import asyncio
import json
import os
import secrets
import shutil
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

_LIMIT = 64 * 1024 * 1024
_given: set[int] = set()


class StartError(Exception):
    """A process did not come up; `output` holds its last lines."""

    def __init__(self, message: str, output: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.output = tuple(output)


def free_port() -> int:
    """Return a port that nobody uses, and whose neighbour 1000 above, for metrics, is free as well.

    It lies below the range from which the system takes ports for outgoing connections: one of those must not take
    it before the service does. No port is given twice, nor to two of pytest's workers: nobody listens yet on the last
    one when the next is wanted.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 8
    while True:
        port = 10_000 + 8 * secrets.randbelow(2_500) + worker
        pair = {port, port + 1000}
        if _given.isdisjoint(pair) and all(map(_is_free, pair)):
            _given.update(pair)
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


async def eventually(
    condition: Callable[[], Any], within: float = 5.0, interval: float = 0.02
) -> Any:
    """Poll until the condition (sync or async) returns something true, or the time is up; return its last value."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value or time.monotonic() >= deadline:
            return value
        await asyncio.sleep(interval)


def slowness() -> float:
    """Return how many times slower than alone this process runs now: 1 on a quiet machine.

    Limits of seconds are meant for a machine that does nothing else; the suite often runs on one that does.
    """
    started, used = time.perf_counter(), time.process_time()
    while time.process_time() - used < 0.05:
        pass
    return max(1.0, (time.perf_counter() - started) / 0.05)


class Process:
    """One child process in a process group of its own."""

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: Path | str | None = None,
        user: str | None = None,
    ) -> None:
        self.argv, self.env, self.cwd, self.user = tuple(argv), dict(env), cwd, user
        self.stdout: list[bytes] = []
        self.stderr: list[bytes] = []
        self._process: asyncio.subprocess.Process | None = None
        self._readers: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the program.

        Raises:
            StartError: there is no such program, or it may not be run.
        """
        guard = shutil.which("setpriv")
        argv = (guard, "--pdeathsig", "KILL", "--", *self.argv) if guard else self.argv
        pipe = asyncio.subprocess.PIPE
        try:
            self._process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=pipe,
                stderr=pipe,
                env=self.env,
                cwd=self.cwd,
                user=self.user,
                start_new_session=True,
                limit=_LIMIT,
            )
        except OSError as error:
            raise StartError(f"cannot run {self.argv[0]}: {error.strerror}") from None
        assert self._process.stdout is not None and self._process.stderr is not None
        self._readers = [
            asyncio.create_task(self._read(self._process.stdout, self.stdout)),
            asyncio.create_task(self._read(self._process.stderr, self.stderr)),
        ]

    @staticmethod
    async def _read(stream: asyncio.StreamReader, lines: list[bytes]) -> None:
        while line := await stream.readline():
            lines.append(line)

    @property
    def pid(self) -> int:
        """Return the process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Return the exit code, or None while it runs."""
        return None if self._process is None else self._process.returncode

    @property
    def running(self) -> bool:
        """Return whether the process was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process alone."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the process and all its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    async def wait(self, within: float) -> int | None:
        """Return the exit code, or None when the process still runs after that many seconds."""
        assert self._process is not None
        try:
            async with asyncio.timeout(within):
                code = await self._process.wait()
                await asyncio.gather(*self._readers)
                return code
        except TimeoutError:
            return None

    async def stop(self, first: signal.Signals = signal.SIGINT, patience: float = 0.0) -> None:
        """End the process: ask with the first signal, then kill the whole group. Safe to call twice."""
        if self._process is None:
            return
        if self.running and patience:
            self.send(first)
            await self.wait(patience)
        self.signal_group(signal.SIGCONT)
        self.signal_group(signal.SIGKILL)
        await self._process.wait()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    def tail(self, count: int = 12) -> tuple[str, ...]:
        """Return the last lines of stdout and stderr, for a report."""
        lines = [*self.stdout[-count:], *(b"stderr: " + line for line in self.stderr[-count:])]
        return tuple(line.decode("utf-8", "replace").rstrip()[:400] for line in lines)

    def logs(self, since: int = 0) -> list[dict[str, Any]]:
        """Return the JSON objects among the lines of stdout, from line `since` on."""
        return [entry for line in self.stdout[since:] if (entry := parse_line(line)) is not None]


def parse_line(line: bytes) -> dict[str, Any] | None:
    """Return a log line as a strict JSON object (no NaN, UTF-8 only), or None when it is not one."""

    def refuse(constant: str) -> float:
        raise ValueError(constant)

    try:
        value = json.loads(line.decode("utf-8"), parse_constant=refuse)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


async def run(
    argv: Sequence[str],
    env: Mapping[str, str],
    cwd: Path | str | None = None,
    within: float = 20.0,
    user: str | None = None,
) -> Process:
    """Run a program to its end and return it.

    Raises:
        StartError: it could not be started, or did not end in time.
    """
    process = Process(argv, env, cwd, user)
    await process.start()
    try:
        if await process.wait(within) is None:
            raise StartError(f"{argv[0]} did not end within {within:g} s", process.tail())
        return process
    finally:
        await process.stop()
