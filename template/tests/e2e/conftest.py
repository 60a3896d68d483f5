"""The real process, `python -m app`, on free ports, and all that it said."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from queue import Empty, Queue
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import pytest

from app.settings import Settings

ROOT = Path(__file__).parents[2]
LIMIT = 30.0
"""Seconds that anything here may take at most."""

# Read before tests run: each one starts with an environment of its own.
DATABASE_URL = os.environ.get("TEST_DATABASE_URL")
REDIS_URL = os.environ.get("TEST_REDIS_URL")
SERVERS = (DATABASE_URL and "database_url" in Settings.model_fields) or (
    REDIS_URL and "redis_url" in Settings.model_fields
)


class Process:
    """One run of the program."""

    def __init__(self, home: Path, environment: dict[str, str], *arguments: str) -> None:
        self.lines: list[dict[str, Any]] = []
        self._queue: Queue[str | None] = Queue()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "app", *arguments],
            cwd=home,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._queue.put(line)
        self._queue.put(None)

    def line(self, message: str) -> dict[str, Any]:
        """Wait for the log line with this message."""
        deadline = time.monotonic() + LIMIT
        while True:
            try:
                text = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                pytest.fail(f"no {message} within {LIMIT} s, only {self.lines}")
            if text is None:
                pytest.fail(f"it ended without {message}: {self.lines}, {self._error()}")
            self._note(text)
            if self.lines[-1]["message"] == message:
                return self.lines[-1]

    def started(self) -> httpx2.Client:
        """Wait until it serves, and give a client."""
        self.ports = self.line("service_started")
        base = f"http://127.0.0.1:{self.ports['port']}"
        deadline = time.monotonic() + LIMIT
        while httpx2.get(f"{base}/health/ready", timeout=LIMIT).status_code != 200:
            assert time.monotonic() < deadline, "never ready"
        return httpx2.Client(base_url=base, timeout=LIMIT)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> int:
        """Wait for its end; every line must have been JSON and stderr empty."""
        code = self._process.wait(LIMIT)
        self._reader.join(LIMIT)
        while (text := self._queue.get(timeout=LIMIT)) is not None:
            self._note(text)
        assert self._error() == ""
        return code

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(LIMIT)
        self._reader.join(LIMIT)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    def _note(self, text: str) -> None:
        line = json.loads(text, parse_constant=_refuse)
        assert {"timestamp", "level", "logger", "message", "service"} <= line.keys()
        self.lines.append(line)

    def _error(self) -> str:
        assert self._process.stderr is not None
        return "" if self._process.stderr.closed else self._process.stderr.read()


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


@pytest.fixture(params=("embedded", "servers") if SERVERS else ("embedded",))
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Variables for a service of the test's own."""
    known = {name.upper() for name in Settings.model_fields}
    inherited = {name: value for name, value in os.environ.items() if name not in known}
    variables = {**inherited, "HOST": "127.0.0.1", "PORT": "0", "DRAIN_SECONDS": "0"}
    database = None
    if "database_url" in Settings.model_fields:
        variables["DATABASE_URL"] = f"sqlite+aiosqlite:///{tmp_path}/test.db"
        if request.param == "servers" and DATABASE_URL:
            database = f"test_{uuid4().hex}"
            _execute(f'CREATE DATABASE "{database}"')
            url = urlsplit(DATABASE_URL)._replace(path=f"/{database}").geturl()
            variables["DATABASE_URL"] = url
    if request.param == "servers" and REDIS_URL:
        variables["REDIS_URL"] = REDIS_URL
    yield variables
    if database:
        _execute(f'DROP DATABASE "{database}" WITH (FORCE)')


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Run the program with more variables; whatever is left of it is ended with the test."""
    # Not where a developer's `.env` is.
    (tmp_path / "migrations").symlink_to(ROOT / "migrations")
    processes: list[Process] = []

    def start(*arguments: str, **variables: str) -> Process:
        processes.append(Process(tmp_path, {**environment, **variables}, *arguments))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()


def _execute(statement: str) -> None:
    # By name: a service without a database has no driver, for the type checker to see either.
    asyncpg = import_module("asyncpg")

    async def execute() -> None:
        assert DATABASE_URL is not None
        plain = DATABASE_URL.replace("postgresql+asyncpg:", "postgresql:")
        connection = await asyncpg.connect(plain)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(execute())
