"""What one request may take: time (`REQUEST_TIMEOUT`) and body size (`MAX_BODY_BYTES`)."""

import asyncio
from collections.abc import Awaitable
from contextvars import ContextVar

from fastapi import FastAPI, HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis.errors import error_response
from chassis.settings import ChassisSettings

_deadline: ContextVar[float | None] = ContextVar("chassis_deadline", default=None)


def remaining() -> float | None:
    """Return the seconds that the current request has left, or None outside a request."""
    deadline = _deadline.get()
    return None if deadline is None else deadline - asyncio.get_running_loop().time()


def install(app: FastAPI, settings: ChassisSettings) -> None:
    """Bound every request's body and time."""
    app.add_middleware(Limits, max_bytes=settings.max_body_bytes, seconds=settings.request_timeout)


class Limits:
    """Answers 413 to a body over `max_bytes`, and 503 to a request that takes over `seconds`.

    A body is checked when it is read, that is after routing: so the 413 has its route, and nothing
    is buffered. A request that has not begun to answer in time is cancelled; a response that has
    begun may stream for longer. Whatever a handler makes of its cancellation, also an answer or an
    error of its own, comes too late.

    `asyncio.timeout` sets a timer for each request and takes it back, which costs more than the log
    line. All requests have the same time here, so they end in the order in which they came, and
    one timer for the oldest is enough.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, seconds: float) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.seconds = seconds
        self._waiting: dict[_Limited, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.seconds
        request = _Limited(self.max_bytes, self._waiting, scope, receive, send, deadline)
        token = _deadline.set(deadline)
        if self._timer is None or loop is not self._loop:
            self._start(deadline, loop)
        self._waiting[request] = None
        try:
            await self.app(scope, request.limited_receive, request.send_in_time)
        except (Exception, asyncio.CancelledError) as error:
            if not request.explains(error):
                if isinstance(error, asyncio.CancelledError) and request in self._waiting:
                    # The server, whose time to stop is over: nobody else would answer.
                    response = error_response(scope, 503, "The request was cancelled")
                    await response(scope, receive, send)
                raise
        finally:
            self._waiting.pop(request, None)
            _deadline.reset(token)
        if request.expired:
            request.task.uncancel()
            response = error_response(scope, 503, "The request took too long")
            await response(scope, receive, send)

    def _start(self, deadline: float, loop: asyncio.AbstractEventLoop) -> None:
        if loop is not self._loop:
            # Whatever waited on another loop, in a test, ended with it.
            self._waiting.clear()
        self._loop = loop
        self._timer = loop.call_at(deadline, self._expire, loop)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        while self._waiting:
            oldest = next(iter(self._waiting))
            if oldest.deadline > loop.time():
                self._start(oldest.deadline, loop)
                return
            del self._waiting[oldest]
            oldest.expire()


class _Limited:
    """One request; its time ends by the rules of `asyncio.timeout`."""

    __slots__ = (
        "_cancelling",
        "_max_bytes",
        "_receive",
        "_received",
        "_scope",
        "_send",
        "_waiting",
        "deadline",
        "expired",
        "task",
    )

    def __init__(
        self,
        max_bytes: int,
        waiting: dict["_Limited", None],
        scope: Scope,
        receive: Receive,
        send: Send,
        deadline: float,
    ) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request is served inside a task")
        self._max_bytes = max_bytes
        self._waiting = waiting
        self._scope = scope
        self._receive = receive
        self._received = 0
        self._send = send
        self._cancelling = task.cancelling()
        self.task = task
        self.deadline = deadline
        self.expired = False

    async def limited_receive(self) -> Message:
        if self._received == 0 and _declared_length(self._scope) > self._max_bytes:
            raise _too_large(self._max_bytes)
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > self._max_bytes:
            raise _too_large(self._max_bytes)
        return message

    def send_in_time(self, message: Message) -> Awaitable[None]:
        if self.expired:
            return _nothing()
        if message["type"] == "http.response.start":
            self._waiting.pop(self, None)
        return self._send(message)

    def expire(self) -> None:
        self.expired = True
        self.task.cancel()

    def explains(self, error: BaseException) -> bool:
        """Whether `error` comes of the end of the time, not of somebody else's cancellation as well."""
        others = self.task.cancelling() - self.expired > self._cancelling
        return self.expired and not (others and isinstance(error, asyncio.CancelledError))


def _too_large(max_bytes: int) -> HTTPException:
    # FastAPI's own class: whatever else `receive` raises becomes a 400 there.
    return HTTPException(413, f"The request body is larger than {max_bytes} bytes")


async def _nothing() -> None:
    """For what comes too late."""


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0
