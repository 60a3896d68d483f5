"""E8 and REQUEST_TIMEOUT: what one request may take."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.types import Receive, Scope, Send

from chassis import limits
from chassis.errors import phrase

Connect = Callable[[FastAPI], AbstractAsyncContextManager[httpx2.AsyncClient]]
MakeApp = Callable[..., FastAPI]
ORIGIN = "http://localhost:3000"
SOON = 0.05


def standard(response: httpx2.Response, status: int) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    assert response.status_code == status
    assert list(body) == ["error", "message", "details", "trace_id"]
    assert body["error"] == phrase(status)
    assert body["trace_id"] == response.headers["x-trace-id"]
    assert response.headers["access-control-allow-origin"] == ORIGIN
    return body


class Upload:
    """A body in chunks of ten bytes that counts how many were taken."""

    def __init__(self, chunks: int) -> None:
        self.chunks = chunks
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self.taken < self.chunks:
            self.taken += 1
            yield b"x" * 10


async def plain_reader(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


@pytest.mark.criterion("E8", "C4")
class TestBodyLimit:
    @pytest.fixture
    async def client(
        self, make_app: MakeApp, connect: Connect
    ) -> AsyncIterator[httpx2.AsyncClient]:
        app = make_app(max_body_bytes=100)

        @app.post("/json")
        async def as_json(body: dict[str, str]) -> int:
            return len(body)

        @app.post("/stream")
        async def as_stream(request: Request) -> int:
            return sum([len(chunk) async for chunk in request.stream()])

        @app.post("/unread")
        async def unread() -> str:
            return "not read"

        app.mount("/plain", plain_reader)
        async with connect(app) as client:
            client.headers["Origin"] = ORIGIN
            yield client

    async def test_a_body_of_the_size_is_read(self, client: httpx2.AsyncClient) -> None:
        response = await client.post("/stream", content=b"x" * 100)

        assert (response.status_code, response.json()) == (200, 100)

    @pytest.mark.parametrize("path", ["/json", "/stream", "/plain/"])
    async def test_one_that_is_declared_larger_is_not_read_at_all(
        self, client: httpx2.AsyncClient, path: str
    ) -> None:
        upload = Upload(chunks=11)

        response = await client.post(path, content=upload, headers={"Content-Length": "110"})

        assert "100 bytes" in standard(response, 413)["message"]
        assert upload.taken == 0

    @pytest.mark.parametrize("path", ["/json", "/stream", "/plain/"])
    async def test_one_that_is_found_larger_is_not_read_whole(
        self, client: httpx2.AsyncClient, path: str
    ) -> None:
        upload = Upload(chunks=1000)

        response = await client.post(path, content=upload)

        standard(response, 413)
        assert upload.taken == 11

    async def test_a_declared_length_that_lies_does_not_help(
        self, client: httpx2.AsyncClient
    ) -> None:
        upload = Upload(chunks=1000)

        response = await client.post("/stream", content=upload, headers={"Content-Length": "10"})

        standard(response, 413)
        assert upload.taken == 11

    async def test_one_that_nobody_reads_harms_nobody(self, client: httpx2.AsyncClient) -> None:
        upload = Upload(chunks=1000)

        response = await client.post("/unread", content=upload)

        assert response.status_code == 200
        assert upload.taken <= 1


@pytest.mark.criterion("E8")
@pytest.mark.parametrize("reads", [False, True])
async def test_a_large_body_is_413_through_the_teams_own_middleware(
    make_app: MakeApp, connect: Connect, caplog: pytest.LogCaptureFixture, reads: bool
) -> None:
    """Starlette's base class wraps the exception, and whoever reads there is outside of FastAPI's handlers."""
    app = make_app(max_body_bytes=100)

    @app.post("/json")
    async def as_json(body: dict[str, str]) -> int:
        return len(body)

    async def middleware(request: Request, call_next: RequestResponseEndpoint) -> Response:
        if reads:
            await request.body()
        return await call_next(request)

    # Inside of the limits, as all middleware of a service that adopts the chassis.
    app.user_middleware.append(Middleware(BaseHTTPMiddleware, dispatch=middleware))
    async with connect(app) as client:
        client.headers["Origin"] = ORIGIN
        for body in (b"x" * 101, Upload(20)):
            standard(await client.post("/json", content=body), 413)
    assert "unhandled_exception" not in caplog.messages


@pytest.mark.criterion("E1", "C4")
class TestTimeout:
    @pytest.fixture
    def app(self, make_app: MakeApp) -> FastAPI:
        return make_app(request_timeout=SOON)

    @pytest.fixture
    async def client(self, app: FastAPI, connect: Connect) -> AsyncIterator[httpx2.AsyncClient]:
        async with connect(app) as client:
            client.headers["Origin"] = ORIGIN
            yield client

    async def test_is_a_503_that_says_when_to_try_again(
        self, app: FastAPI, client: httpx2.AsyncClient
    ) -> None:
        cancelled = asyncio.Event()

        @app.get("/hang")
        async def hang() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        response = await client.get("/hang")

        assert standard(response, 503)["message"] == "The request took too long"
        assert response.headers["retry-after"] == "1"
        assert cancelled.is_set()

    async def test_what_a_handler_makes_of_it_comes_too_late(
        self, app: FastAPI, client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        @app.get("/answer")
        async def answer() -> str:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return "late"
            return "never"

        @app.get("/fail")
        async def fail() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise RuntimeError("connection lost") from None

        standard(await client.get("/answer"), 503)
        assert "unhandled_exception" not in caplog.messages
        standard(await client.get("/fail"), 503)
        assert caplog.messages.count("unhandled_exception") == 1

    async def test_does_not_end_a_response_that_has_begun(
        self, app: FastAPI, client: httpx2.AsyncClient
    ) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"begun "
            while (limits.remaining() or 0) > -SOON / 2:  # noqa: ASYNC110  # time passes by itself
                await asyncio.sleep(0)
            yield b"and ended"

        @app.get("/stream")
        async def stream() -> StreamingResponse:
            return StreamingResponse(chunks())

        response = await client.get("/stream")

        assert (response.status_code, response.text) == (200, "begun and ended")

    async def test_one_that_ends_leaves_a_younger_one_its_time(
        self, make_app: MakeApp, connect: Connect
    ) -> None:
        app = make_app(request_timeout=20 * SOON)
        ended = asyncio.Event()

        @app.get("/older")
        async def older() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        @app.get("/younger")
        async def younger() -> None:
            await ended.wait()

        async with connect(app) as client:
            first = asyncio.create_task(client.get("/older"))
            await asyncio.sleep(10 * SOON)
            second = await client.get("/younger")
            statuses = (await first).status_code, second.status_code

        assert statuses == (503, 200)

    async def test_a_timeout_of_the_handlers_own_is_an_error_of_its_own(
        self, app: FastAPI, client: httpx2.AsyncClient
    ) -> None:
        @app.get("/own")
        async def own() -> None:
            raise TimeoutError

        standard(await client.get("/own"), 500)


@pytest.mark.criterion("B5")
class TestRemaining:
    def test_is_unknown_outside_a_request(self) -> None:
        assert limits.remaining() is None

    async def test_is_what_is_left_of_the_timeout(
        self, make_app: MakeApp, connect: Connect
    ) -> None:
        app = make_app(request_timeout=30)

        @app.get("/remaining")
        async def remaining() -> list[float | None]:
            return [limits.remaining(), await asyncio.create_task(left())]

        async def left() -> float | None:
            return limits.remaining()

        async with connect(app) as client:
            here, in_task = (await client.get("/remaining")).json()

        assert 25 < in_task <= here <= 30
        assert limits.remaining() is None
