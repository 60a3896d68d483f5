"""uvicorn's HTTP protocol, but where it leaves a client without the standard answer, or a request without its end."""

import asyncio
import logging
import random
from typing import cast

from opentelemetry import trace
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from chassis.errors import error_response, phrase
from chassis.transport import JoiningTransport

logger = logging.getLogger(__name__)

MAX_HEAD_BYTES = 65536
"""What the request line and the fields may take together; and those after a body in chunks."""

_NOT_HTTP = (400, "This is not HTTP")
_HEAD_TOO_LARGE = (431, f"The head of the request is larger than {MAX_HEAD_BYTES} bytes")


class HttpProtocol(HttpToolsProtocol):
    """An answer leaves in one packet, and what is no request gets the standard answer, too (E1, E2).

    Where a request is under way, what follows is no part of it and no other: the client counts as gone.
    A second answer would end up inside the first, with ids that nothing else has.
    """

    _served: RequestResponseCycle | None = None
    _refusal = _NOT_HTTP
    # Bytes since the parser had something whole. It adds to what is unfinished with each packet, and copies it all.
    _unfinished = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        joining = JoiningTransport(transport, self.loop)
        super().connection_made(cast("asyncio.Transport", joining))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._client_left()

    def data_received(self, data: bytes) -> None:
        self._unfinished += len(data)
        super().data_received(data)
        if self._unfinished > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refusal = _HEAD_TOO_LARGE
            self.send_400_response("")

    def on_headers_complete(self) -> None:
        # What came in one packet may be a small head and a body.
        if self._unfinished > MAX_HEAD_BYTES and self._head_bytes() > MAX_HEAD_BYTES:
            self._refusal = _HEAD_TOO_LARGE
            raise ValueError  # the parser ends, and uvicorn calls `send_400_response`
        self._unfinished = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unfinished = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        if self._served is not None and not self._served.response_complete:
            self._client_left()
        else:
            self._refuse(*self._refusal)
        self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        # `self.cycle` is the request that was read last, and this one may be older.
        self._served = cycle
        super()._start_asgi_task(cycle, app)

    def _client_left(self) -> None:
        self.pipeline.clear()
        if self._served is not None and not self._served.response_complete:
            self._served.disconnected = True
            self._served.message_event.set()

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _refuse(self, status: int, message: str) -> None:
        context = trace.SpanContext(
            random.getrandbits(128), random.getrandbits(64), is_remote=False
        )
        with trace.use_span(trace.NonRecordingSpan(context)):
            headers = {"Connection": "close", "Vary": "Origin"}
            headers["X-Trace-ID"] = context.trace_id.to_bytes(16).hex()
            response = error_response({"headers": ()}, status, message, headers=headers)
            client = self.client[0] if self.client else None
            logger.warning("invalid_http_request", extra={"client_ip": client, "status": status})
        lines = (b"%b: %b\r\n" % header for header in response.raw_headers)
        self.transport.write(
            b"HTTP/1.1 %d %b\r\n%b\r\n%b"
            % (status, phrase(status).encode(), b"".join(lines), bytes(response.body))
        )
