"""HTTP/1.1 as it is on the wire: no hidden retry, no pool, no normalised header.

A conformance suite must see a lost request, a garbled answer and a closed connection as they are. Ordinary clients hide
all three: they repeat idempotent requests on a stale connection and quietly reopen it.
"""

import asyncio
import json as jsonlib
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import h11

Headers = Mapping[str, str] | Iterable[tuple[str, str]]

_MAX_BODY = 32 * 1024 * 1024


class WireError(Exception):
    """The peer did not answer with HTTP: it refused, closed, sent garbage or kept silent."""


@dataclass(frozen=True, slots=True)
class Response:
    """One complete answer."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    seconds: float

    def header(self, name: str) -> str | None:
        """Return the first header of that name, whatever its case."""
        return next((value for key, value in self.headers if key == name.lower()), None)

    def tokens(self, name: str) -> set[str]:
        """Return the comma-separated items of all headers of that name, in lower case."""
        values = ",".join(value for key, value in self.headers if key == name.lower())
        return {item.strip().lower() for item in values.split(",") if item.strip()}

    @property
    def text(self) -> str:
        """Return the body as text; what is not UTF-8 shows as replacement characters."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """Return the parsed body, or None when it is not JSON."""
        try:
            return jsonlib.loads(self.body)
        except ValueError:
            return None

    def object(self) -> dict[str, Any]:
        """Return the parsed body when it is a JSON object, else an empty one."""
        value = self.json()
        return value if isinstance(value, dict) else {}

    def brief(self) -> str:
        """Return status and start of the body, for messages."""
        return f"{self.status} {self.text[:160]!r}"


class Connection:
    """One TCP connection on which requests are made one after the other."""

    def __init__(self, host: str, port: int, within: float = 10.0) -> None:
        self._host, self._port, self._timeout = host, port, within
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._state = h11.Connection(h11.CLIENT, max_incomplete_event_size=1024 * 1024)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def open(self) -> None:
        """Connect.

        Raises:
            WireError: nobody listens, or nobody accepts in time.
        """
        try:
            async with asyncio.timeout(self._timeout):
                self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        except TimeoutError:
            raise WireError(f"no connection within {self._timeout:g} s") from None
        except OSError as error:
            raise WireError(f"connection refused: {error.strerror or error}") from None

    def close(self) -> None:
        """Drop the connection at once; a request in flight becomes a disconnect for the service."""
        if self._writer is not None:
            self._writer.transport.abort()

    @property
    def reusable(self) -> bool:
        """Return whether the server lets another request follow on this connection."""
        return self._state.our_state is h11.IDLE and self._state.their_state is h11.IDLE

    async def send(self, data: bytes) -> None:
        """Write bytes as they are."""
        assert self._writer is not None
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise WireError(f"connection lost while sending: {error.strerror or error}") from None

    async def request(
        self,
        method: str,
        target: str,
        headers: Headers = (),
        body: bytes | Iterable[bytes] = b"",
        within: float | None = None,
    ) -> Response:
        """Send one request and read its answer; a body that is an iterable goes out in chunks, without a length.

        Raises:
            WireError: there was no complete HTTP answer in time.
        """
        chunks = (body,) if isinstance(body, bytes) else body
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
        names = {key.lower() for key, _ in pairs}
        if "host" not in names:
            pairs.insert(0, ("Host", f"{self._host}:{self._port}"))
        if not isinstance(body, bytes):
            pairs.append(("Transfer-Encoding", "chunked"))
        elif (body or method in {"POST", "PUT", "PATCH"}) and "content-length" not in names:
            pairs.append(("Content-Length", str(len(body))))
        try:
            async with asyncio.timeout(within or self._timeout):
                started = time.perf_counter()
                head = h11.Request(method=method, target=target, headers=pairs)
                await self.send(self._state.send(head) or b"")
                try:
                    for chunk in chunks:
                        if chunk:
                            await self.send(self._state.send(h11.Data(data=chunk)) or b"")
                    await self.send(self._state.send(h11.EndOfMessage()) or b"")
                except WireError:
                    pass  # An early answer (413) may close our side: what counts is what can be read.
                return await self._read(started)
        except TimeoutError:
            raise WireError(
                f"no answer to {method} {target[:80]} within {within or self._timeout:g} s"
            ) from None
        except h11.LocalProtocolError as error:
            raise WireError(f"cannot send {method} {target[:80]}: {error}") from None

    async def raw(self, data: bytes, within: float | None = None) -> Response:
        """Send bytes that no client library would send and read the answer to them."""
        head = h11.Request(method="GET", target="/", headers=[("Host", "raw")])
        self._state.send(head)
        self._state.send(h11.EndOfMessage())
        try:
            async with asyncio.timeout(within or self._timeout):
                started = time.perf_counter()
                await self.send(data)
                return await self._read(started)
        except TimeoutError:
            raise WireError(
                f"no answer to raw bytes within {within or self._timeout:g} s"
            ) from None

    async def _read(self, started: float) -> Response:
        assert self._reader is not None
        response: h11.Response | None = None
        body = bytearray()
        try:
            while True:
                event = self._state.next_event()
                if event is h11.NEED_DATA:
                    self._state.receive_data(await self._reader.read(65536))
                elif isinstance(event, h11.Response):
                    response = event
                elif isinstance(event, h11.Data):
                    body += event.data
                    if len(body) > _MAX_BODY:
                        raise WireError("the answer is larger than 32 MiB")
                elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed | type(h11.PAUSED)):
                    break
        except h11.RemoteProtocolError as error:
            raise WireError(f"answered garbage, or closed without an answer: {error}") from None
        except OSError as error:
            raise WireError(f"connection lost: {error.strerror or error}") from None
        if response is None:
            raise WireError("closed without an answer")
        if self._state.our_state is h11.DONE and self._state.their_state is h11.DONE:
            self._state.start_next_cycle()
        pairs = tuple(
            (key.decode("latin-1").lower(), value.decode("latin-1"))
            for key, value in response.headers
        )
        return Response(response.status_code, pairs, bytes(body), time.perf_counter() - started)


class Client:
    """Requests to one address, each on a connection of its own."""

    def __init__(self, port: int, host: str = "127.0.0.1", within: float = 10.0) -> None:
        self.host, self.port, self.within = host, port, within

    def connection(self) -> Connection:
        """Return a connection, not yet open: use it with `async with`."""
        return Connection(self.host, self.port, self.within)

    async def request(
        self,
        method: str,
        target: str,
        *,
        headers: Headers = (),
        body: bytes | Iterable[bytes] = b"",
        json: object = None,
        within: float | None = None,
    ) -> Response:
        """Make one request on a fresh connection; `json` sets the body and its type."""
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
        if json is not None:
            body = jsonlib.dumps(json).encode()
            if not any(key.lower() == "content-type" for key, _ in pairs):
                pairs.append(("Content-Type", "application/json"))
        async with self.connection() as connection:
            return await connection.request(method, target, pairs, body, within)

    async def get(
        self, target: str, *, headers: Headers = (), within: float | None = None
    ) -> Response:
        """GET on a fresh connection."""
        return await self.request("GET", target, headers=headers, within=within)

    async def raw(self, data: bytes, within: float | None = None) -> Response:
        """Send raw bytes on a fresh connection and read the answer."""
        async with self.connection() as connection:
            return await connection.raw(data, within)

    @asynccontextmanager
    async def abandoned(
        self, method: str, target: str, json: object = None
    ) -> AsyncIterator[Connection]:
        """Send a request, and drop the connection at the end of the block without reading an answer."""
        body = b"" if json is None else jsonlib.dumps(json).encode()
        lines = [
            f"{method} {target} HTTP/1.1",
            f"Host: {self.host}",
            "Content-Type: application/json",
        ]
        head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
        async with self.connection() as connection:
            await connection.send(head.encode() + body)
            yield connection
