"""E1, E4, L5: what nobody handled, and what mounted applications answer, in the one shape."""

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import pytest
from fastapi import BackgroundTasks, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from chassis import NATIVE_TELEMETRY_OFF, service
from chassis.errors import ErrorResponse, ResponseAborted, phrase
from chassis.logging import JsonFormatter

SECRET = "hunter2-of-postgresql"
Connect = Callable[[FastAPI], AbstractAsyncContextManager[httpx2.AsyncClient]]


async def explode() -> None:
    raise RuntimeError(f"postgresql://user:{SECRET}@db")


async def raise_status(status: int) -> None:
    raise HTTPException(status, SECRET)


def add_routes(app: FastAPI) -> None:
    app.get("/crash")(explode)
    app.get("/status/{status}")(raise_status)


@pytest.fixture
def app(make_app: Callable[..., FastAPI]) -> FastAPI:
    app = make_app()
    add_routes(app)
    return app


@pytest.fixture
async def client(app: FastAPI, connect: Connect) -> AsyncIterator[httpx2.AsyncClient]:
    async with connect(app) as client:
        yield client


@pytest.fixture
def log() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What is logged at ERROR and above, as it leaves the process."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setLevel(logging.ERROR)
    handler.setFormatter(JsonFormatter(service="s", version="1", environment="test"))
    root = logging.getLogger()
    root.addHandler(handler)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.removeHandler(handler)


def standard(response: httpx2.Response, status: int) -> dict[str, Any]:
    """The body of a response that has to be the standard error."""
    body: dict[str, Any] = response.json()
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert list(body) == ["error", "message", "details", "trace_id"]
    assert body["error"] == phrase(status)
    assert body["trace_id"] == response.headers["x-trace-id"]
    ErrorResponse.model_validate(body)
    return body


@pytest.mark.criterion("E4")
class TestFailures:
    @pytest.mark.parametrize("environment", ["development", "production"])
    @pytest.mark.parametrize(
        ("path", "status"), [("/crash", 500), ("/status/500", 500), ("/status/503", 503)]
    )
    async def test_reveal_nothing(
        self,
        make_app: Callable[..., FastAPI],
        connect: Connect,
        environment: str,
        path: str,
        status: int,
    ) -> None:
        app = make_app(
            environment=environment,
            allowed_origins=["https://app.example.com"],
        )
        add_routes(app)
        async with connect(app) as client:
            response = await client.get(path)

        body = standard(response, status)
        assert body["details"] is None
        assert SECRET not in f"{response.text}{response.headers}"
        assert "RuntimeError" not in response.text

    async def test_a_cancellation_that_only_the_handler_met_is_one(
        self, app: FastAPI, client: httpx2.AsyncClient, log: Callable[[], list[dict[str, Any]]]
    ) -> None:
        @app.get("/lost")
        async def lost() -> None:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

        standard(await client.get("/lost"), 500)
        assert log()[0]["exception"]["type"] == "asyncio.exceptions.CancelledError"

    @pytest.mark.criterion("E1", "M5")
    @pytest.mark.parametrize("error", [SystemExit("boom"), BaseExceptionGroup("g", [SystemExit()])])
    async def test_what_is_no_exception_is_one(
        self, app: FastAPI, client: httpx2.AsyncClient, error: BaseException
    ) -> None:
        @app.get("/exit")
        async def leave() -> None:
            raise error

        standard(await client.get("/exit"), 500)
        count = app.state.chassis.metrics.registry.get_sample_value
        labels = {"service": service.read().name, "method": "GET", "path": "/exit", "status": "500"}
        assert count("http_requests_total", labels) == 1

    async def test_one_that_cannot_be_printed_is_one(
        self,
        app: FastAPI,
        client: httpx2.AsyncClient,
        log: Callable[[], list[dict[str, Any]]],
        record_spans: Callable[[FastAPI], InMemorySpanExporter],
    ) -> None:
        class Unprintable(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        @app.get("/unprintable")
        async def unprintable() -> None:
            raise Unprintable

        spans = record_spans(app)
        standard(await client.get("/unprintable"), 500)
        assert [line["message"] for line in log()][:1] == ["unhandled_exception"]
        (span,) = spans.get_finished_spans()
        assert [event.name for event in span.events] == ["exception"]

    async def test_unavailable_says_when_to_try_again(self, client: httpx2.AsyncClient) -> None:
        assert (await client.get("/status/503")).headers["retry-after"] == "1"

    @pytest.mark.criterion("L5")
    async def test_are_logged_exactly_once_with_their_trace(
        self, client: httpx2.AsyncClient, log: Callable[[], list[dict[str, Any]]]
    ) -> None:
        response = await client.get("/crash")

        (failure,) = [line for line in log() if "exception" in line]
        assert failure["message"] == "unhandled_exception"
        assert failure["exception"]["type"].endswith("RuntimeError")
        assert failure["trace_id"] == standard(response, 500)["trace_id"]
        assert SECRET not in json.dumps(failure)

    @pytest.mark.criterion("L5")
    async def test_in_a_stream_abort_the_connection_and_are_logged_once(
        self, app: FastAPI, connect: Connect, log: Callable[[], list[dict[str, Any]]]
    ) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"begun"
            await explode()

        @app.get("/stream")
        async def stream() -> StreamingResponse:
            return StreamingResponse(chunks())

        async with connect(app) as client:
            with pytest.raises(ResponseAborted) as aborted:
                await client.get("/stream")

        assert len([line for line in log() if "exception" in line]) == 1
        assert aborted.value.__suppress_context__

    @pytest.mark.criterion("L5")
    async def test_after_the_answer_change_nothing_in_it(
        self, app: FastAPI, connect: Connect, log: Callable[[], list[dict[str, Any]]]
    ) -> None:
        @app.get("/background")
        async def background(tasks: BackgroundTasks) -> str:
            tasks.add_task(explode)
            return "done"

        async with connect(app) as client:
            response = await client.get("/background")

        assert (response.status_code, response.json()) == (200, "done")
        assert [line["message"] for line in log()] == ["unhandled_exception"]

    async def test_a_client_that_goes_away_is_none(
        self, app: FastAPI, log: Callable[[], list[dict[str, Any]]]
    ) -> None:
        @app.post("/upload")
        async def upload(request: Request) -> None:
            async for _ in request.stream():
                pass

        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/upload",
            "query_string": b"",
            "headers": [],
        }
        await app(scope, receive, send)

        assert sent == []
        assert log() == []


@pytest.mark.criterion("E1")
class TestMountedApplications:
    @pytest.fixture
    async def client(self, app: FastAPI, connect: Connect) -> AsyncIterator[httpx2.AsyncClient]:
        sub = FastAPI(telemetry=NATIVE_TELEMETRY_OFF)
        add_routes(sub)
        app.mount("/fastapi", sub)
        app.mount("/starlette", Starlette(routes=[Route("/only-get", hand_made)]))
        app.mount("/plain", plain_application)
        routes = [Route("/only-get", hand_made), Route("/own-405", refuse_method)]
        app.router.routes.append(Mount("/routes", routes=routes))
        app.add_route("/hand-made", hand_made)
        async with connect(app) as client:
            yield client

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/fastapi/nowhere", 404),
            ("GET", "/fastapi/status/409", 409),
            ("DELETE", "/fastapi/crash", 405),
            ("GET", "/fastapi/status/none", 422),
            ("GET", "/starlette/nowhere", 404),
            ("POST", "/starlette/only-get", 405),
            ("GET", "/routes/nowhere", 404),
            ("POST", "/routes/only-get", 405),
            ("GET", "/routes/own-405", 405),
            ("GET", "/plain/", 418),
            ("GET", "/hand-made", 400),
            ("GET", "/starlette/only-get", 400),
        ],
    )
    async def test_answer_in_the_standard_body(
        self, client: httpx2.AsyncClient, method: str, path: str, status: int
    ) -> None:
        response = await client.request(method, path)

        standard(response, status)
        assert SECRET not in response.text
        assert ("allow" in response.headers) == (status == 405)

    @pytest.mark.criterion("E4", "L5")
    async def test_fail_like_the_service(
        self, client: httpx2.AsyncClient, log: Callable[[], list[dict[str, Any]]]
    ) -> None:
        response = await client.get("/fastapi/crash")

        assert standard(response, 500)["message"] == "An unexpected error occurred"
        assert SECRET not in response.text
        assert len([line for line in log() if "exception" in line]) == 1

    async def test_keep_their_headers_but_for_those_of_the_body(
        self, client: httpx2.AsyncClient
    ) -> None:
        response = await client.get("/plain/")

        standard(response, 418)
        assert response.headers.get_list("set-cookie") == ["a=1", "b=2"]
        assert "content-encoding" not in response.headers
        assert int(response.headers["content-length"]) == len(response.content)

    async def test_that_say_when_to_try_again_are_believed(
        self, app: FastAPI, connect: Connect
    ) -> None:
        app.mount("/busy-one", Response(status_code=503, headers={"retry-after": "7"}))
        async with connect(app) as client:
            response = await client.get("/busy-one/")

        standard(response, 503)
        assert response.headers.get_list("retry-after") == ["7"]


async def hand_made(request: Request) -> Response:
    return JSONResponse({"reason": SECRET}, 400)


async def refuse_method(request: Request) -> Response:
    raise HTTPException(405)


async def plain_application(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [
        (b"content-type", b"text/html"),
        (b"Content-Encoding", b"gzip"),
        (b"Content-Length", b"9999"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
    ]
    await send({"type": "http.response.start", "status": 418, "headers": headers})
    await send({"type": "http.response.body", "body": SECRET.encode(), "more_body": True})
    await send({"type": "http.response.body", "body": b""})
