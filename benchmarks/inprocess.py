"""Send requests to an application inside this process: no server, no sockets, nothing but its own work.

    python -m benchmarks.inprocess APP COUNT [--routes N] [--series N]

Prints `ready` after the warm-up, waits for a line, sends COUNT requests and flushes the spans, prints
`done`, and ends when its input does. `instructions.py` counts between the two lines.
"""

import argparse
import asyncio
import importlib
import os
import random
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop
from fastapi import FastAPI
from opentelemetry import trace

WARM_UP = 256
SERIES_OF_A_ROUTE = 15  # a counter, and a histogram of 12 buckets, a sum and a count
PATH = "/notes/7"


async def request(app: FastAPI, path: str = PATH) -> int:
    """Send one GET and return the status of the answer."""
    answered = 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        nonlocal answered
        if message["type"] == "http.response.start":
            answered = message["status"]

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "scheme": "http",
        "method": "GET",
        "root_path": "",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [
            (b"host", b"127.0.0.1:8000"),
            (b"user-agent", b"benchmark/1"),
            (b"accept", b"*/*"),
        ],
        "state": {},
    }
    # A task of its own, as the server makes one.
    await asyncio.create_task(app(scope, receive, send))  # type: ignore[arg-type]  # ASGI's dictionaries
    return answered


async def requests(app: FastAPI, count: int) -> None:
    """Send `count` requests one after the other."""
    for _ in range(count):
        status = await request(app)
        if status != 200:
            raise SystemExit(f"answered {status}")


def add_routes(app: FastAPI, count: int) -> None:
    """Put routes that do not match in front of all others."""

    async def unused(id: int) -> None: ...

    before = len(app.router.routes)
    for number in range(count):
        app.add_api_route(f"/unused{number}/{{id}}", unused)
    routes = app.router.routes
    routes[:] = routes[before:] + routes[:before]


def add_series(app: FastAPI, count: int) -> None:
    """Let the chassis have that many series more: of routes that were asked for once."""
    for number in range(-(-count // SERIES_OF_A_ROUTE)):
        series = app.state.chassis.metrics.request_series("GET", f"/other{number}", 200)
        series.observe(0.1, 0, 0, None)


def flush(app: FastAPI) -> None:
    """Export what is waiting: a batch that leaves after the count would look like speed."""
    chassis = getattr(app.state, "chassis", None)
    provider: Any = chassis.tracing.provider if chassis else trace.get_tracer_provider()
    if hasattr(provider, "force_flush"):
        provider.force_flush()


async def run(app: FastAPI, count: int, between: Callable[[], Awaitable[None]]) -> None:
    async with app.router.lifespan_context(app):
        await requests(app, WARM_UP)
        flush(app)
        # The same requests are sampled in every run.
        random.seed(1)
        say("ready")
        await between()
        await requests(app, count)
        flush(app)
        say("done")
        await between()


def say(word: str) -> None:
    """Tell who started this process; standard output belongs to the log."""
    os.write(2, f"{word}\n".encode())


async def told() -> None:
    """Wait for a line."""
    await asyncio.to_thread(sys.stdin.readline)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("app")
    parser.add_argument("count", type=int)
    parser.add_argument("--routes", type=int, default=0)
    parser.add_argument("--series", type=int, default=0)
    options = parser.parse_args()
    app: FastAPI = importlib.import_module(f"benchmarks.apps.{options.app}").create()
    add_routes(app, options.routes)
    if options.series:
        add_series(app, options.series)
    asyncio.Runner(loop_factory=uvloop.new_event_loop).run(run(app, options.count, told))


if __name__ == "__main__":
    main()
