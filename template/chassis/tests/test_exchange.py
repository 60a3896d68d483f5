"""B2 and B6: one exchange over HTTP with a real server on the loopback interface."""

import asyncio
import base64
import gzip
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.trace import get_tracer

from chassis import exchange as module
from chassis.exchange import (
    CONNECTIONS_PER_DEPENDENCY,
    MAX_RESPONSE_BYTES,
    Call,
    DependencyResponse,
    ExchangeFailed,
    Target,
    exchange,
    open_session,
)

Speaker = Callable[[Reader, Writer], Awaitable[None]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
TIMEOUT = 5.0
SHORT = 0.2


class Wire:
    """A session, and the two ways in which a call over it ends."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def send(self, call: Call) -> DependencyResponse:
        return await exchange(self.session, get_tracer(__name__), call)

    async def failure(self, call: Call) -> ExchangeFailed:
        with pytest.raises(ExchangeFailed) as failed:
            await self.send(call)
        return failed.value


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    async with open_session(dependencies=2, timeout=TIMEOUT, user_agent="user/1.0") as session:
        yield Wire(session)


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[Target]:
    """A dependency that answers every request with `handler`."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(app) as server:
        yield Target(str(server.make_url("/")))


@asynccontextmanager
async def speaking(handler: Speaker) -> AsyncIterator[Target]:
    """A dependency that says to every connection what `handler` does; it need not be HTTP."""

    async def connected(reader: Reader, writer: Writer) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield Target(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")


async def nothing(reader: Reader, writer: Writer) -> None:
    """Close the connection without a word."""


async def nonsense(reader: Reader, writer: Writer) -> None:
    writer.write(b"NONSENSE\r\n\r\n")


async def half_a_body(reader: Reader, writer: Writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")


async def silence(reader: Reader, writer: Writer) -> None:
    await reader.read()


async def body_that_never_ends(reader: Reader, writer: Writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    await reader.read()


async def hello(request: web.Request) -> web.Response:
    return web.json_response({"hello": request.path})


@pytest.mark.criterion("B6")
class TestAnswers:
    async def test_an_answer_is_read_whole(self, wire: Wire) -> None:
        async with serving(hello) as target:
            response = await wire.send(target.call("get", "/a"))
        assert response.status == 200
        assert response.json() == {"hello": "/a"}
        assert response.headers["content-TYPE"].startswith("application/json")

    async def test_what_is_sent_arrives(self, wire: Wire) -> None:
        async def echo(request: web.Request) -> web.Response:
            query = dict(request.query)
            headers = {name: request.headers.get(name) for name in ("X-Own", "User-Agent")}
            return web.json_response([request.method, query, await request.json(), headers])

        async with serving(echo) as target:
            call = target.call(
                "post", "/", params={"page": 2}, json={"a": None}, headers={"X-Own": "1"}
            )
            response = await wire.send(call)
        assert response.json() == [
            "POST",
            {"page": "2"},
            {"a": None},
            {"X-Own": "1", "User-Agent": "user/1.0"},
        ]

    async def test_redirects_are_not_followed(self, wire: Wire) -> None:
        async def elsewhere(request: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"})

        async with serving(elsewhere) as target:
            response = await wire.send(target.call("GET", "/"))
        assert response.status == 302

    async def test_cookies_of_one_call_are_not_sent_with_the_next(self, wire: Wire) -> None:
        async def remember(request: web.Request) -> web.Response:
            response = web.json_response(dict(request.cookies))
            response.set_cookie("session", "of-somebody")
            return response

        async with serving(remember) as target:
            call = target.call("GET", "/")
            # aiohttp's own jar would keep no cookies of an address, only of a name.
            call = replace(call, url=call.url.with_host("localhost"))
            answers = [await wire.send(call) for _ in range(2)]
        assert [answer.json() for answer in answers] == [{}, {}]

    def test_a_body_that_is_not_json_is_a_value_error(self) -> None:
        with pytest.raises(ValueError, match="Expecting"):
            DependencyResponse(200, {}, b"<html>").json()


@pytest.mark.criterion("B2", "B6")
class TestFailures:
    @pytest.mark.parametrize("dependency", [nothing, nonsense, half_a_body])
    async def test_broken_answers_are_errors(self, wire: Wire, dependency: Speaker) -> None:
        async with speaking(dependency) as target:
            failed = await wire.failure(target.call("GET", "/"))
        assert failed.outcome == "error"

    @pytest.mark.parametrize("dependency", [silence, body_that_never_ends])
    async def test_answers_that_do_not_come_in_time_are_timeouts(self, dependency: Speaker) -> None:
        session = open_session(dependencies=2, timeout=SHORT, user_agent="user/1.0")
        async with speaking(dependency) as target, session:
            failed = await Wire(session).failure(target.call("GET", "/"))
        assert failed.outcome == "timeout"
        assert failed.__cause__ is None

    async def test_a_refused_connection_is_an_error(self, wire: Wire) -> None:
        async with speaking(nothing) as target:
            call = target.call("GET", "/")
        failed = await wire.failure(call)
        assert (failed.outcome, failed.reason) == ("error", "ClientConnectorError")

    async def test_the_callers_cancellation_is_not_a_failure(self, wire: Wire) -> None:
        async with speaking(silence) as target:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(SHORT / 4):
                    await wire.send(target.call("GET", "/"))

    @pytest.mark.parametrize("compressed", [False, True])
    async def test_a_body_over_the_bound_is_refused(
        self,
        wire: Wire,
        monkeypatch: pytest.MonkeyPatch,
        compressed: bool,
    ) -> None:
        monkeypatch.setattr(module, "MAX_RESPONSE_BYTES", 100_000)
        body = bytes(100_001)

        async def large(request: web.Request) -> web.Response:
            if not compressed:
                return web.Response(body=body)
            return web.Response(body=gzip.compress(body), headers={"Content-Encoding": "gzip"})

        async with serving(large) as target:
            failed = await wire.failure(target.call("GET", "/"))
        assert failed.outcome == "error"

    async def test_a_body_at_the_bound_is_read(
        self,
        wire: Wire,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(module, "MAX_RESPONSE_BYTES", 100_000)

        async def large(request: web.Request) -> web.Response:
            return web.Response(body=bytes(100_000))

        async with serving(large) as target:
            response = await wire.send(target.call("GET", "/"))
        assert len(response.body) == 100_000
        assert MAX_RESPONSE_BYTES == 10 * 1024 * 1024

    @pytest.mark.criterion("B2", "B3", "B5")
    @pytest.mark.parametrize("method", ["GET", "POST"])
    async def test_a_lost_connection_is_one_call_and_not_repeated_behind_our_back(
        self, wire: Wire, method: str
    ) -> None:
        calls = 0

        async def count(reader: Reader, writer: Writer) -> None:
            nonlocal calls
            calls += 1

        async with speaking(count) as target:
            await wire.failure(target.call(method, "/"))
        assert calls == 1

    @pytest.mark.criterion("S2", "T4")
    async def test_the_error_names_no_url(self, wire: Wire) -> None:
        async with speaking(nonsense) as target:
            failed = await wire.failure(target.call("GET", "/", params={"token": "hunter2"}))
        assert str(failed) == "error: ClientResponseError"
        assert failed.__suppress_context__ and failed.__cause__ is None


@pytest.mark.criterion("B6")
class TestSession:
    async def test_connections_are_kept(self, wire: Wire) -> None:
        ports = set()

        async def note_port(request: web.Request) -> web.Response:
            assert request.transport is not None
            ports.add(request.transport.get_extra_info("peername")[1])
            return web.Response(body=bytes(200_000))

        async with serving(note_port) as target:
            for _ in range(5):
                await wire.send(target.call("GET", "/"))
        assert len(ports) == 1

    async def test_every_limit_is_explicit(self, wire: Wire) -> None:
        assert wire.session.timeout.total == wire.session.timeout.sock_read == TIMEOUT
        assert wire.session.timeout.connect == TIMEOUT / 2
        assert wire.session.connector is not None
        assert wire.session.connector.limit_per_host == CONNECTIONS_PER_DEPENDENCY
        assert wire.session.connector.limit == 2 * CONNECTIONS_PER_DEPENDENCY


class TestTarget:
    @pytest.mark.parametrize(
        ("base", "path", "url"),
        [
            ("http://auth:8002", "/a", "http://auth:8002/a"),
            ("http://auth:8002/", "/a?b=c", "http://auth:8002/a?b=c"),
            ("https://host/auth/v1/", "/a", "https://host/auth/v1/a"),
            ("http://auth:8002", "//other/a", "http://auth:8002//other/a"),
            ("http://auth:8002", "/@other/a", "http://auth:8002/@other/a"),
        ],
    )
    def test_paths_follow_the_base(self, base: str, path: str, url: str) -> None:
        assert str(Target(base).call("GET", path).url) == url

    @pytest.mark.parametrize("path", ["", "a", "@other/", ":80@other/", ".other/"])
    def test_a_path_cannot_change_the_host(self, path: str) -> None:
        with pytest.raises(ValueError, match="must begin with a slash"):
            Target("http://auth:8002").call("GET", path)

    @pytest.mark.parametrize(
        "path",
        ["/../admin", "/users/..", "/.", "/%2e%2E/admin", "/.%2e?a=b", "/..#a", "/\t.\r.\n/admin"],
    )
    def test_a_path_cannot_leave_the_base(self, path: str) -> None:
        """`quote("..", safe="")` is still `..`."""
        with pytest.raises(ValueError, match="must have no segment"):
            Target("http://auth:8002/base").call("GET", path)

    @pytest.mark.parametrize("path", ["/a.b/..c/...", "/a?next=/../b", "/a#/../b", "/%252e%252e/b"])
    def test_dots_elsewhere_are_left_alone(self, path: str) -> None:
        call = Target("http://auth:8002/base").call("GET", path)
        assert str(call.url) == f"http://auth:8002/base{path}"

    @pytest.mark.criterion("S2")
    def test_credentials_leave_the_url(self) -> None:
        call = Target("http://user:p%40ss@auth:8002").call("GET", "/")
        assert str(call.url) == "http://auth:8002/"
        expected = base64.b64encode(b"user:p@ss").decode()
        assert call.headers["Authorization"] == f"Basic {expected}"

    def test_headers_of_the_call_go_before_them(self) -> None:
        target = Target("http://user:pass@auth:8002")
        call = target.call("GET", "/", headers={"authorization": "Bearer own"})
        assert dict(call.headers) == {"authorization": "Bearer own"}
