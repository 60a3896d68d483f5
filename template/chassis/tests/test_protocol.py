"""What reaches a client on a connection, and what a request hears of a client that left."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from chassis.protocol import MAX_HEAD_BYTES, HttpProtocol
from chassis.service import read

MakeApp = Callable[..., FastAPI]
LIMIT = 10.0
GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class Connection(asyncio.Transport):
    """A connection to an application, without a socket."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__()
        config = uvicorn.Config(app, http=HttpProtocol, log_config=None, lifespan="off")
        config.load()
        self.packets: list[bytes] = []
        self.closing = False
        self.protocol = HttpProtocol(config, uvicorn.Server(config).server_state, {})
        self.protocol.connection_made(self)

    @property
    def answers(self) -> bytes:
        return b"".join(self.packets)

    def send(self, data: bytes) -> None:
        self.protocol.data_received(data)

    async def served(self) -> None:
        async with asyncio.timeout(LIMIT):
            while tasks := [*self.protocol.tasks]:
                await asyncio.gather(*tasks)
                await asyncio.sleep(0)  # for what the end of one begins

    def write(self, data: bytes | bytearray | memoryview) -> None:
        # As uvloop's.
        if self.closing:
            raise RuntimeError("the handler is closed")
        self.packets.append(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self.protocol.connection_lost(None)

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def refused(connection: Connection) -> tuple[str, dict[str, str], Any]:
    """The only answer on a connection that is closed: status, headers and body."""
    assert connection.closing
    head, _, body = connection.answers.decode().partition("\r\n\r\n")
    status, *lines = head.split("\r\n")
    headers = dict(line.lower().split(": ") for line in lines)
    assert int(headers["content-length"]) == len(body)
    return status.removeprefix("HTTP/1.1 "), headers, json.loads(body)


@pytest.fixture
def app(make_app: MakeApp) -> FastAPI:
    app = make_app()

    @app.get("/fast")
    async def fast() -> str:
        return "fast"

    @app.post("/read")
    async def read_all(request: Request) -> int:
        return len(await request.body())

    return app


async def test_an_answer_leaves_in_one_packet(app: FastAPI) -> None:
    """Head and body in one system call, which is one packet while they fit into it."""
    connection = Connection(app)
    connection.send(GET % b"/fast")
    await connection.served()
    (packet,) = connection.packets
    assert packet.startswith(b"HTTP/1.1 200 OK\r\n") and packet.endswith(b'\r\n\r\n"fast"')


@pytest.mark.criterion("E1", "E2", "L3")
@pytest.mark.parametrize("line", ["GET /é HTTP/1.1", "GET / HTTP/1.1\r\nno colon", "\x16\x03"])
async def test_what_is_not_http_gets_the_standard_answer(
    app: FastAPI, caplog: pytest.LogCaptureFixture, line: str
) -> None:
    connection = Connection(app)
    connection.send(f"{line}\r\nHost: a\r\n\r\n".encode())
    status, headers, body = refused(connection)
    assert status == "400 Bad Request"
    assert (headers["connection"], headers["vary"]) == ("close", "origin")
    assert list(body) == ["error", "message", "details", "trace_id"]
    assert headers["x-trace-id"] == body["trace_id"] != "0" * 32
    assert caplog.messages.count("invalid_http_request") == 1


@pytest.mark.criterion("L3")
async def test_a_request_that_becomes_none_is_a_client_that_left(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    """A second answer beside its own would have ids that nothing else has."""
    connection = Connection(app)
    connection.send(CHUNKED + b"1\r\nx\r\n")
    await asyncio.sleep(0)
    connection.send(b"zz\r\n")
    await connection.served()
    assert (connection.closing, connection.answers) == (True, b"")
    assert "invalid_http_request" not in caplog.messages


class TestPipelined:
    """Requests that a client sends without waiting for answers."""

    @pytest.fixture
    def slow(self, app: FastAPI) -> asyncio.Event:
        go = asyncio.Event()

        @app.get("/slow")
        async def slow() -> str:
            await go.wait()
            return "slow"

        return go

    async def test_are_answered_in_order(self, app: FastAPI, slow: asyncio.Event) -> None:
        connection = Connection(app)
        connection.send(GET % b"/slow" + GET % b"/fast" + GET % b"/fast")
        slow.set()
        await connection.served()
        bodies = [
            answer.split(b"\r\n\r\n")[1]
            for answer in connection.answers.split(b"HTTP/1.1 200 OK")[1:]
        ]
        assert bodies == [b'"slow"', b'"fast"', b'"fast"']

    @pytest.mark.criterion("M5")
    @pytest.mark.parametrize("end", ["close", "garbage"])
    async def test_end_with_their_client(self, app: FastAPI, end: str) -> None:
        """uvicorn tells only the request that was read last, and that one is not served yet."""
        begun, ended = asyncio.Event(), asyncio.Event()

        async def events() -> AsyncIterator[bytes]:
            begun.set()
            try:
                yield b"first"
                await asyncio.Event().wait()
            finally:
                ended.set()

        @app.get("/events")
        async def stream() -> StreamingResponse:
            return StreamingResponse(events())

        connection = Connection(app)
        connection.send(GET % b"/events" + GET % b"/fast")
        async with asyncio.timeout(LIMIT):
            await begun.wait()
            if end == "close":
                connection.close()
            else:
                connection.send(b"GARBAGE\r\n\r\n")
            await connection.served()
        assert ended.is_set()
        assert connection.answers.count(b"HTTP/1.1") == 1
        registry, labels = app.state.chassis.metrics.registry, {"service": read().name}
        in_progress = registry.get_sample_value(
            "http_requests_in_progress", labels | {"method": "GET"}
        )
        assert in_progress == 0

    @pytest.mark.criterion("L5")
    async def test_that_become_none_log_no_error(
        self, app: FastAPI, slow: asyncio.Event, caplog: pytest.LogCaptureFixture
    ) -> None:
        connection = Connection(app)
        connection.send(GET % b"/slow" + GET % b"/fast" + b"GARBAGE\r\n\r\n")
        await asyncio.sleep(0)
        slow.set()
        await connection.served()
        assert connection.answers == b""
        assert [r.getMessage() for r in caplog.records if r.levelname == "ERROR"] == []


@pytest.mark.criterion("E1", "E2")
class TestHead:
    """The parser adds each packet to what is unfinished, and copies it all."""

    @pytest.mark.parametrize("size", [1000, MAX_HEAD_BYTES, 10 * MAX_HEAD_BYTES])
    @pytest.mark.parametrize("begin", [b"GET /", GET[:-2] % b"/fast" + b"A: "])
    async def test_that_does_not_end_is_refused(
        self, app: FastAPI, caplog: pytest.LogCaptureFixture, begin: bytes, size: int
    ) -> None:
        connection = Connection(app)
        connection.send(begin)
        sent = 0
        while not connection.closing and sent <= MAX_HEAD_BYTES:
            connection.send(b"a" * size)
            sent += size
        status, headers, body = refused(connection)
        assert status == "431 Request Header Fields Too Large"
        assert body["error"] == "Request Header Fields Too Large"
        assert body["trace_id"] == headers["x-trace-id"]
        assert caplog.messages.count("invalid_http_request") == 1

    async def test_that_comes_whole_is_refused(self, app: FastAPI) -> None:
        connection = Connection(app)
        connection.send(GET[:-2] % b"/fast" + b"A: %b\r\n\r\n" % (b"a" * MAX_HEAD_BYTES))
        assert refused(connection)[0] == "431 Request Header Fields Too Large"

    @pytest.mark.criterion("E8")
    async def test_is_counted_for_each_request_and_without_the_body(self, app: FastAPI) -> None:
        connection = Connection(app)
        length = 3 * MAX_HEAD_BYTES
        post = b"POST /read HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % length
        get = GET[:-2] % b"/fast" + b"A: " + b"a" * (MAX_HEAD_BYTES - 1000) + b"\r\n\r\n"
        for _ in range(2):
            connection.send(post + b"x" * length)
            await connection.served()
            connection.send(post)
            connection.send(b"x" * (length - 1))
            connection.send(b"x" + get[: MAX_HEAD_BYTES // 2])
            connection.send(get[MAX_HEAD_BYTES // 2 :])
            await connection.served()
        assert not connection.closing
        assert connection.answers.count(b"HTTP/1.1 200 OK") == 6

    async def test_what_follows_a_body_in_chunks_is_bounded_too(self, app: FastAPI) -> None:
        connection = Connection(app)
        connection.send(CHUNKED + b"1\r\nx\r\n0\r\nA: ")
        for _ in range(3):
            connection.send(b"a" * (MAX_HEAD_BYTES // 2))
        await connection.served()
        assert (connection.closing, connection.answers) == (True, b"")
