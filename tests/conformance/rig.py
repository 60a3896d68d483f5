"""One started service with counterparts of its own."""

import asyncio
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from conformance.counterparts.collector import Collector
from conformance.counterparts.dependency import Dependency
from conformance.counterparts.postgres import USER, Postgres
from conformance.counterparts.proxy import Proxy
from conformance.counterparts.redis import Redis
from conformance.description import Description
from conformance.process import Process, StartError, eventually, free_port, parse_line
from conformance.scrape import Scrape
from conformance.wire import Client, Response, WireError

START_TIMEOUT = 20.0


@dataclass(frozen=True, slots=True)
class Profile:
    """How an instance is set up: variables on top of the usual ones (None removes one), and what it waits for."""

    env: Mapping[str, str | None] = field(default_factory=dict)
    own_postgres: bool = False
    await_ready: bool = True
    directory: Path | None = None


def new_trace(sampled: bool = True) -> tuple[str, str]:
    """Return a new trace id and the `traceparent` that carries it."""
    trace_id = secrets.token_hex(16)
    return trace_id, f"00-{trace_id}-{secrets.token_hex(8)}-{'01' if sampled else '00'}"


def base_environment() -> dict[str, str]:
    """Return the variables that any program needs, and nothing else of the surroundings."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
    return {key: os.environ[key] for key in kept if key in os.environ}


class Rig:
    """A service process, its clients, and the counterparts it was pointed at."""

    def __init__(self, description: Description, profile: Profile) -> None:
        self.description, self.profile = description, profile
        self.process: Process | None = None
        self.port, self.metrics_port = free_port(), free_port()
        self.client = Client(self.port)
        self.metrics_client = Client(self.metrics_port)
        self.metrics_path = "/metrics"
        self.collector = Collector()
        self.dependencies = {name: Dependency() for name in description.dependencies}
        self.postgres: Postgres | None = None
        self.database = ""
        self.proxy: Proxy | None = None
        self.redis: Redis | None = None
        self.env: dict[str, str] = {}
        self._stack = AsyncExitStack()

    async def start(self, postgres: Postgres | None, template: str) -> None:
        """Start the counterparts, then the service, and wait until it answers.

        Raises:
            StartError: it exited, kept silent, or answered something that is not HTTP; `output` holds its last lines.
        """
        started: list[Any] = [self.collector, *self.dependencies.values()]
        if self.description.cache:
            self.redis = Redis()
            started.append(self.redis)
        if postgres is not None:
            self.postgres, self.database = postgres, await postgres.create_database(template)
            self.proxy = Proxy(postgres.port)
            started.append(self.proxy)
        for counterpart in started:
            self._stack.push_async_callback(counterpart.stop)
        await asyncio.gather(*(counterpart.start() for counterpart in started))
        self._set_metrics_client()
        await self.launch()

    def attach(self) -> None:
        """Use a service that runs already."""
        url = urlsplit(self.description.base_url or "")
        self.client = Client(url.port or 80, url.hostname or "127.0.0.1")
        metrics = urlsplit(self.description.metrics_url or "")
        self.metrics_client = Client(metrics.port or 80, metrics.hostname or "127.0.0.1")
        self.metrics_path = metrics.path or "/metrics"

    def _set_metrics_client(self) -> None:
        values = {"port": self.port, "metrics_port": self.metrics_port}
        text = self.description.metrics
        for key, value in values.items():
            text = text.replace("{" + key + "}", str(value))
        url = urlsplit(text)
        self.metrics_client, self.metrics_path = Client(url.port or 80), url.path

    def placeholders(self) -> dict[str, object]:
        """Return what `{...}` in the description's environment stands for on this rig."""
        found: dict[str, object] = {"port": self.port, "metrics_port": self.metrics_port}
        found["collector_port"] = self.collector.port
        found.update({name: dependency.port for name, dependency in self.dependencies.items()})
        if self.postgres is not None and self.proxy is not None:
            address = f"127.0.0.1:{self.proxy.port}"
            found["database_url"] = (
                f"postgresql://{USER}:{self.postgres.password}@{address}/{self.database}"
            )
        if self.redis is not None:
            found.update(
                redis_host="127.0.0.1",
                redis_port=self.redis.port,
                redis_password=self.redis.password,
            )
            found["redis_url"] = f"redis://:{self.redis.password}@127.0.0.1:{self.redis.port}/0"
        return found

    def environment(self) -> dict[str, str]:
        """Return the complete environment of the service under this rig's profile."""
        env = {**base_environment(), **self.description.variables(self.placeholders())}
        for key, value in self.profile.env.items():
            env.pop(key, None)
            if value is not None:
                env[key] = value
        return env

    async def launch(self) -> None:
        """Start the service's process (again) and wait until it answers."""
        self.env = self.environment()
        self.process = Process(
            self.description.argv(), self.env, self.profile.directory or self.description.directory
        )
        self._stack.push_async_callback(self.process.stop)
        await self.process.start()
        await self._await_http()

    async def _await_http(self) -> None:
        assert self.process is not None
        deadline, last = time.monotonic() + START_TIMEOUT, "nothing listens"
        while time.monotonic() < deadline:
            if not self.process.running:
                await self.process.wait(1)
                raise StartError(
                    f"the service exited with code {self.process.returncode}", self.process.tail()
                )
            try:
                if self.profile.await_ready:
                    answer = await self.client.get("/health/ready", within=3)
                    if answer.status != 503:
                        return
                    last = f"never ready: {answer.brief()}"
                else:
                    await self.client.get("/health/live", within=3)
                    return
            except WireError as error:
                last = str(error)
                if "garbage" in last:
                    deadline = min(deadline, time.monotonic() + 3)
            await asyncio.sleep(0.03)
        if self.profile.await_ready and last.startswith("never ready"):
            raise StartError(f"the service is {last}", self.process.tail())
        raise StartError(f"the service did not come up: {last}", self.process.tail())

    async def stop(self) -> None:
        """End the service and its counterparts."""
        await self._stack.aclose()
        if self.postgres is not None and not self.profile.own_postgres:
            self.postgres = None

    @property
    def alive(self) -> bool:
        """Return whether the service's process runs (a service that was attached counts as running)."""
        return self.process is None or self.process.running

    async def mark(self) -> int:
        """Return the place in the output behind everything that earlier requests wrote.

        A line may arrive after its response: a request of its own, once its line is there, is behind them all.
        """
        word = secrets.token_hex(8)
        await self.client.get(f"/mark-{word}")
        await eventually(lambda: any(word.encode() in line for line in self.lines()[-50:]), 1.0)
        return len(self.lines())

    def logs(self, since: int = 0) -> list[dict[str, Any]]:
        """Return the log entries written since a mark."""
        return [entry for line in self.lines(since) if (entry := parse_line(line)) is not None]

    def lines(self, since: int = 0) -> list[bytes]:
        """Return the raw lines written since a mark."""
        return (self.process.stdout if self.process else self._file_lines())[since:]

    def _file_lines(self) -> list[bytes]:
        path = self.description.log_file
        return path.read_bytes().splitlines(keepends=True) if path and path.exists() else []

    async def logged(
        self,
        wanted: Callable[[dict[str, Any]], object],
        since: int = 0,
        count: int = 1,
        within: float = 3.0,
    ) -> list[dict[str, Any]]:
        """Return the entries since a mark that are wanted, once there are that many or the time is up."""

        def found() -> list[dict[str, Any]]:
            return [entry for entry in self.logs(since) if wanted(entry)]

        await eventually(lambda: len(found()) >= count, within)
        return found()

    async def traced(self, trace_id: str, count: int = 1) -> list[dict[str, Any]]:
        """Return the log entries that carry a trace id."""
        return await self.logged(lambda entry: entry.get("trace_id") == trace_id, count=count)

    async def scrape(self) -> Scrape:
        """Read the metrics page."""
        answer = await self.metrics_client.get(self.metrics_path)
        if answer.status != 200:
            raise WireError(f"the metrics page answered {answer.brief()}")
        return Scrape(answer.text)

    async def upstream(self, **options: Any) -> Response:
        """Ask the service for a guarded call to its first dependency."""
        return await self.client.get(self.upstream_path, **options)

    @property
    def upstream_path(self) -> str:
        """Return the path that makes the service call its first dependency."""
        return (self.description.upstreams or "").replace(
            "{dependency}", next(iter(self.dependencies))
        )

    @property
    def dependency(self) -> Dependency:
        """Return the first dependency."""
        return next(iter(self.dependencies.values()))

    async def create_item(self, name: str | None = None, **options: Any) -> Response:
        """Create an item of the sample application."""
        body = {
            "name": name or f"item-{secrets.token_hex(6)}",
            "description": "made by the conformance suite",
        }
        return await self.client.request("POST", self.items, json=body, **options)

    async def new_item(self) -> str:
        """Create an item and return its path."""
        created = await self.create_item()
        if created.status != 201:
            raise WireError(f"cannot create an item: {created.brief()}")
        return f"{self.items}/{created.object().get('id')}"

    @property
    def items(self) -> str:
        """Return the path of the sample resource."""
        return self.description.items or "/items"

    async def sql(self, statement: str) -> list[str]:
        """Run SQL on the service's database, past the proxy."""
        assert self.postgres is not None
        return await self.postgres.execute(statement, self.database)


class ShadowDirectory:
    """The service's directory by links, so that a check can put files beside them without touching the original."""

    def __init__(self, original: Path, without: tuple[str, ...] = (".env", ".env.example")) -> None:
        self._original, self._without = original, without
        self.path = Path()

    def __enter__(self) -> Path:
        self.path = Path(tempfile.mkdtemp(prefix="conformance-directory-"))
        for entry in self._original.iterdir():
            if entry.name not in self._without:
                (self.path / entry.name).symlink_to(entry)
        return self.path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
