"""One HTTP exchange with a dependency: bounded in time and size, traced, and sent exactly once.

Rules B6, T1 and T4 of the service contract. The client span is made here and not by the contrib
instrumentation, which ends it before the body, exports query values inside the text of exceptions
and reaches the stable attribute names only through a private argument.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from json import loads
from typing import Any, Final, Literal

import aiohttp
from multidict import CIMultiDict
from opentelemetry import propagate
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from yarl import URL

MAX_RESPONSE_BYTES: Final = 10 * 1024 * 1024
CONNECTIONS_PER_DEPENDENCY: Final = 100
# Below uvicorn's 5 s, so that a server never closes a connection in the moment it is used again.
KEEPALIVE_SECONDS: Final = 4.0
_CHUNK_BYTES: Final = 64 * 1024
# A segment of dots before the query. yarl drops the white space in it, and resolves it also when it is encoded.
_DOTS: Final = re.compile(r"[^?#]*/[\t\r\n]*((\.|%2e)[\t\r\n]*){1,2}([/?#]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Call:
    """What to send: everything about a request except the attempt it is sent in."""

    method: str
    url: URL
    params: Mapping[str, str | int | float] | None
    json: Any
    headers: Mapping[str, str]


class Target:
    """Where a dependency is.

    Args:
        url: a path in it comes before the path of every call; `user:password@` in it becomes
            `Authorization`, so that no URL holds a secret when it is traced (S2).
    """

    def __init__(self, url: str) -> None:
        given = URL(url)
        self._base = str(given.with_user(None)).rstrip("/")
        self._headers: dict[str, str] = {}
        if given.user is not None:
            pair = f"{given.user}:{given.password or ''}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int | float] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Call:
        """Describe a call to this dependency.

        Raises:
            ValueError: the path does not begin with a slash, and could change the host; or a
                segment of it is `.` or `..`, and it could leave the path of the target.
        """
        if not path.startswith("/"):
            raise ValueError("the path of a call must begin with a slash")
        if _DOTS.match(path):
            raise ValueError("the path of a call must have no segment . or ..")
        merged = CIMultiDict(self._headers)
        merged.update(headers or {})
        return Call(method.upper(), URL(self._base + path), params, json, merged)


@dataclass(frozen=True, slots=True)
class DependencyResponse:
    """A whole answer, its body read. Header names are matched in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: the body is not JSON.
        """
        return loads(self.body)


class ExchangeFailed(Exception):
    """No whole answer came.

    Its text is the kind of the error only: the texts of aiohttp repeat the URL with its query, and
    would carry it into logs and spans (S2, T4).
    """

    def __init__(self, outcome: Literal["timeout", "error"], reason: str) -> None:
        super().__init__(f"{outcome}: {reason}")
        self.outcome = outcome
        self.reason = reason


class _ConnectionLost(aiohttp.ClientConnectionError):
    """The connection broke before an answer came."""


class _ResponseTooLarge(aiohttp.ClientPayloadError):
    """The body is over MAX_RESPONSE_BYTES."""


def open_session(*, dependencies: int, timeout: float, user_agent: str) -> aiohttp.ClientSession:
    """Open the one session of a service (B6). It keeps no cookies: all callers share it.

    Every dependency has its own share of the connections, so that one that hangs does not use up
    what the others need.

    Args:
        dependencies: how many dependencies share it.
        timeout: seconds that an attempt may take as a whole; connecting may take half of it.
        user_agent: how the service names itself.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=CONNECTIONS_PER_DEPENDENCY * max(1, dependencies),
            limit_per_host=CONNECTIONS_PER_DEPENDENCY,
            keepalive_timeout=KEEPALIVE_SECONDS,
        ),
        timeout=aiohttp.ClientTimeout(total=timeout, connect=timeout / 2, sock_read=timeout),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": user_agent},
        middlewares=(_send_once,),
    )


async def exchange(
    session: aiohttp.ClientSession, tracer: Tracer, call: Call, *, attempt: int = 0
) -> DependencyResponse:
    """Send a call once and read its answer. Redirects are not followed.

    Args:
        session: from `open_session`.
        tracer: makes the client span.
        call: what to send.
        attempt: 0 for the first, for the span.

    Raises:
        ExchangeFailed: no connection, no answer in time, or an answer that is broken or too large.
    """
    try:
        with _client_span(tracer, call, attempt) as span:
            headers = CIMultiDict(call.headers)
            propagate.inject(headers)
            async with session.request(
                call.method,
                call.url,
                params=call.params,
                json=call.json,
                headers=headers,
                allow_redirects=False,
            ) as response:
                _note_status(span, response.status)
                body = await _read_bounded(response)
                return DependencyResponse(response.status, response.headers, body)
    except TimeoutError as error:
        raise ExchangeFailed("timeout", _kind(error)) from None
    except (aiohttp.ClientError, OSError) as error:
        raise ExchangeFailed("error", _kind(error)) from None


async def _send_once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending an idempotent request again by itself when a connection breaks.

    Such a second call would be in no metric, breaker or retry budget (B2, B3, B5).
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _ConnectionLost(_kind(error)) from None


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) > MAX_RESPONSE_BYTES:
            raise _ResponseTooLarge(f"over {MAX_RESPONSE_BYTES} bytes")
    return bytes(body)


@contextmanager
def _client_span(tracer: Tracer, call: Call, attempt: int) -> Iterator[Span]:
    with tracer.start_as_current_span(
        call.method, kind=SpanKind.CLIENT, record_exception=False, set_status_on_exception=False
    ) as span:
        if span.is_recording():
            span.set_attributes(_request_attributes(call, attempt))
        try:
            yield span
        except BaseException as error:
            _note_error(span, _kind(error))
            raise


def _request_attributes(call: Call, attempt: int) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {
        "http.request.method": call.method,
        "url.full": str(call.url.with_query(None).with_fragment(None)),
        "server.address": call.url.host or "",
        "server.port": call.url.port or 0,
    }
    if attempt:
        attributes["http.request.resend_count"] = attempt
    return attributes


def _note_status(span: Span, status: int) -> None:
    span.set_attribute("http.response.status_code", status)
    if status >= 400:
        _note_error(span, str(status))


def _note_error(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR))


def _kind(error: BaseException) -> str:
    return type(error).__qualname__
