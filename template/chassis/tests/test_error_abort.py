"""E8, L5, M5: what breaks an answer off, and what is no failure of the service at all."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.background import BackgroundTask
from starlette.types import Message

from chassis.errors import ResponseAborted

UPLOAD = [{"type": "http.request", "body": b"x" * 60, "more_body": True}] * 2
GONE = [{"type": "http.disconnect"}]


@pytest.fixture
def app(make_app: Callable[..., FastAPI]) -> FastAPI:
    return make_app(max_body_bytes=100)


@pytest.fixture
def failures(caplog: pytest.LogCaptureFixture) -> Callable[[], list[tuple[str, str]]]:
    """Level and name of what is logged, but for the access log."""
    caplog.set_level(logging.INFO)
    return lambda: [
        (record.levelname, record.message)
        for record in caplog.records
        if record.name != "chassis.access"
    ]


class Exchange:
    """One request as a server has it, whose `send` may fail at the last message."""

    def __init__(self, received: list[dict[str, Any]], refuses: bool = False) -> None:
        self.received = iter(received)
        self.refuses = refuses
        self.status = 0
        self.sent = b""

    async def run(self, app: FastAPI, path: str) -> None:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "query_string": b"",
            "headers": [],
        }
        await app(scope, self.receive, self.send)

    async def receive(self) -> Message:
        return next(self.received)

    async def send(self, message: Message) -> None:
        if self.refuses and message["type"] == "http.response.body":
            raise RuntimeError("Response content shorter than Content-Length")
        self.status = message.get("status", self.status)
        self.sent += message.get("body", b"")


@pytest.mark.criterion("E8", "M5")
@pytest.mark.parametrize(("received", "status"), [(UPLOAD, 413), (GONE, 0)])
async def test_a_group_of_refusals_is_one(
    app: FastAPI,
    failures: Callable[[], list[tuple[str, str]]],
    received: list[dict[str, Any]],
    status: int,
) -> None:
    @app.post("/group")
    async def group(request: Request) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(request.body())

    exchange = Exchange(received)
    await exchange.run(app, "/group")

    assert exchange.status == status
    assert failures() == []


@pytest.mark.criterion("L5")
async def test_a_group_with_a_failure_in_it_is_one(
    app: FastAPI, failures: Callable[[], list[tuple[str, str]]]
) -> None:
    @app.post("/group")
    async def group(request: Request) -> None:
        try:
            await request.body()
        except Exception as error:
            raise ExceptionGroup("both", [error, RuntimeError()]) from None

    exchange = Exchange(GONE)
    await exchange.run(app, "/group")

    assert exchange.status == 500
    assert failures() == [("ERROR", "unhandled_exception")]


@pytest.mark.criterion("E8")
@pytest.mark.parametrize("in_group", [False, True])
async def test_a_body_that_gets_too_large_during_the_answer_breaks_it_off_with_a_warning(
    app: FastAPI, failures: Callable[[], list[tuple[str, str]]], in_group: bool
) -> None:
    async def echo(request: Request) -> AsyncIterator[bytes]:
        try:
            async for chunk in request.stream():
                yield chunk
        except Exception as error:
            raise (ExceptionGroup("", [error]) if in_group else error) from None

    @app.post("/echo")
    async def answer(request: Request) -> StreamingResponse:
        return StreamingResponse(echo(request))

    exchange = Exchange(UPLOAD)
    with pytest.raises(ResponseAborted):
        await exchange.run(app, "/echo")

    assert (exchange.status, exchange.sent) == (200, b"x" * 60)
    assert failures() == [("WARNING", "body_too_large")]


@pytest.mark.criterion("E8")
async def test_one_that_gets_too_large_during_a_foreign_error_is_413(
    app: FastAPI, failures: Callable[[], list[tuple[str, str]]]
) -> None:
    @app.post("/echo")
    async def answer(request: Request) -> StreamingResponse:
        return StreamingResponse(request.stream(), 400)

    exchange = Exchange(UPLOAD)
    await exchange.run(app, "/echo")

    assert exchange.status == 413
    assert failures() == []


@pytest.mark.criterion("L5")
@pytest.mark.parametrize("status", [200, 400])
async def test_an_answer_that_the_server_refuses_is_one_failure(
    app: FastAPI, failures: Callable[[], list[tuple[str, str]]], status: int
) -> None:
    """Not raised, the server would log that nothing came, without the ids of the request."""

    @app.post("/short")
    async def short() -> Response:
        return Response(b"abc", status, {"content-length": "10"})

    with pytest.raises(ResponseAborted):
        await Exchange([], refuses=True).run(app, "/short")

    assert failures() == [("ERROR", "unhandled_exception")]


@pytest.mark.criterion("L5")
@pytest.mark.parametrize("status", [200, 400])
async def test_a_failure_after_the_answer_leaves_it_alone(
    app: FastAPI, failures: Callable[[], list[tuple[str, str]]], status: int
) -> None:
    async def explode() -> None:
        raise RuntimeError

    @app.post("/background")
    async def background() -> Response:
        return JSONResponse({}, status, background=BackgroundTask(explode))

    exchange = Exchange([])
    await exchange.run(app, "/background")

    assert exchange.status == status
    assert failures() == [("ERROR", "unhandled_exception")]
