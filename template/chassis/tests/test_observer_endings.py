"""However a request ends, it is counted with the right status and no longer in progress."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from starlette.types import Message

from chassis.errors import ResponseAborted
from chassis.service import read

Connect = Callable[[FastAPI], AbstractAsyncContextManager[httpx2.AsyncClient]]
MakeApp = Callable[..., FastAPI]

SERVICE = read().name


def value(app: FastAPI, name: str, **labels: str) -> float | None:
    registry = app.state.chassis.metrics.registry
    sample: float | None = registry.get_sample_value(name, {"service": SERVICE, **labels})
    return sample


def statuses(app: FastAPI, path: str) -> dict[str, float]:
    """How many requests to `path` were counted, by status."""
    return {
        sample.labels["status"]: sample.value
        for metric in app.state.chassis.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "http_requests_total" and sample.labels["path"] == path
    }


def scope(path: str, method: str = "GET") -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
        "client": ("192.0.2.1", 5000),
        "server": ("127.0.0.1", 8000),
    }


async def hang_up() -> Message:
    return {"type": "http.disconnect"}


async def never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def ignore(message: Message) -> None:
    """Where an answer goes that nobody reads."""


@pytest.mark.criterion("M5")
async def test_in_progress_while_answering_and_not_after(
    make_app: MakeApp, connect: Connect
) -> None:
    app = make_app()
    during: list[float | None] = []

    @app.get("/failing")
    async def failing() -> None:
        during.append(value(app, "http_requests_in_progress", method="GET"))
        raise RuntimeError

    async with connect(app) as client:
        await client.get("/failing")
    assert during == [1]
    assert value(app, "http_requests_in_progress", method="GET") == 0
    assert statuses(app, "/failing") == {"500": 1}


@pytest.mark.criterion("M5")
async def test_a_client_that_leaves_before_the_answer_is_499(make_app: MakeApp) -> None:
    app = make_app()

    @app.get("/slow")
    async def slow(request: Request) -> bool:
        return await request.is_disconnected()

    await app(scope("/slow"), hang_up, ignore)
    assert statuses(app, "/slow") == {"499": 1}
    assert value(app, "http_requests_in_progress", method="GET") == 0


@pytest.mark.criterion("M5")
@pytest.mark.criterion("E1", "C4")
async def test_a_cancelled_request_is_answered(make_app: MakeApp) -> None:
    """The server cancels what is left when its time to stop is over, and would answer by itself."""
    app = make_app()
    inside = asyncio.Event()
    sent: list[Message] = []

    async def keep(message: Message) -> None:
        sent.append(message)

    @app.get("/slow")
    async def slow() -> None:
        inside.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(app(scope("/slow"), never, keep))
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    start, body = sent
    assert start["status"] == 503
    assert {b"x-trace-id", b"retry-after", b"vary"} <= dict(start["headers"]).keys()
    assert list(json.loads(body["body"])) == ["error", "message", "details", "trace_id"]
    assert statuses(app, "/slow") == {"503": 1}
    assert value(app, "http_requests_in_progress", method="GET") == 0


@pytest.mark.criterion("M5")
async def test_a_client_that_leaves_during_the_answer_keeps_its_status(make_app: MakeApp) -> None:
    app = make_app()

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"begun"
            await asyncio.Event().wait()

        return StreamingResponse(chunks())

    begun = asyncio.Event()

    async def hang_up_then() -> Message:
        await begun.wait()
        return await hang_up()

    async def send(message: Message) -> None:
        begun.set()

    await app(scope("/stream"), hang_up_then, send)
    assert statuses(app, "/stream") == {"200": 1}
    assert value(app, "http_requests_in_progress", method="GET") == 0


@pytest.mark.criterion("M5")
async def test_an_answer_that_breaks_off_is_500(make_app: MakeApp, connect: Connect) -> None:
    app = make_app()

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"begun"
            raise RuntimeError

        return StreamingResponse(chunks())

    async with connect(app) as client:
        with pytest.raises(ResponseAborted):
            await client.get("/stream")
    assert statuses(app, "/stream") == {"500": 1}
    assert value(app, "http_requests_in_progress", method="GET") == 0
