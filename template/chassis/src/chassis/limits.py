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
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(RequestTimeout, seconds=settings.request_timeout)


class BodyLimit:
    """Answers 413 as soon as a body is declared or found to be larger than `max_bytes`.

    The check runs when the body is read, that is after routing: so the 413 has its route, and
    nothing is buffered.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http":
            return self.app(scope, receive, send)
        received = 0

        async def limited() -> Message:
            nonlocal received
            if received == 0 and _declared_length(scope) > self.max_bytes:
                raise self._too_large()
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                raise self._too_large()
            return message

        return self.app(scope, limited, send)

    def _too_large(self) -> HTTPException:
        # FastAPI's own class: whatever else `receive` raises becomes a 400 there.
        return HTTPException(413, f"The request body is larger than {self.max_bytes} bytes")


class RequestTimeout:
    """Cancels a request that has not begun to answer after `seconds`, and answers 503.

    A response that has begun may stream for longer. Whatever a handler makes of its cancellation,
    also an answer or an error of its own, comes too late.

    `asyncio.timeout` sets a timer for each request and takes it back, which costs more than the log
    line. All requests have the same time here, so they end in the order in which they came, and
    one timer for the oldest is enough.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app = app
        self.seconds = seconds
        self._waiting: dict[_Timed, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        request = _Timed(loop.time() + self.seconds, self._waiting, send, loop)
        token = _deadline.set(request.deadline)
        self._watch(request, loop)
        try:
            await self.app(scope, receive, request.send_in_time)
        except (Exception, asyncio.CancelledError) as error:
            if not request.explains(error):
                raise
        finally:
            request.end()
            _deadline.reset(token)
        if request.expired:
            response = error_response(scope, 503, "The request took too long")
            await response(scope, receive, send)

    def _watch(self, request: "_Timed", loop: asyncio.AbstractEventLoop) -> None:
        if loop is not self._loop:
            self._loop, self._timer = loop, None
            self._waiting.clear()
        self._waiting[request] = None
        if self._timer is None:
            self._timer = loop.call_at(request.deadline, self._expire, loop)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        while self._waiting:
            oldest = next(iter(self._waiting))
            if oldest.deadline > loop.time():
                self._timer = loop.call_at(oldest.deadline, self._expire, loop)
                return
            oldest.expire()


class _Timed:
    """One request and its time, by the rules of `asyncio.timeout`."""

    __slots__ = ("_cancelling", "_send", "_task", "_waiting", "deadline", "expired")

    def __init__(
        self,
        deadline: float,
        waiting: dict["_Timed", None],
        send: Send,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("a request is served inside a task")
        self.deadline = deadline
        self.expired = False
        self._waiting = waiting
        self._send = send
        self._task = task
        self._cancelling = task.cancelling()

    def expire(self) -> None:
        del self._waiting[self]
        self.expired = True
        self._task.cancel()

    def send_in_time(self, message: Message) -> Awaitable[None]:
        if self.expired:
            return _nothing()
        if message["type"] == "http.response.start":
            self._waiting.pop(self, None)
        return self._send(message)

    def explains(self, error: BaseException) -> bool:
        """Whether `error` comes of the end of the time, not of somebody else's cancellation as well."""
        others = self._task.cancelling() - self.expired > self._cancelling
        return self.expired and not (others and isinstance(error, asyncio.CancelledError))

    def end(self) -> None:
        """Forget the request; a cancellation of ours is answered now."""
        self._waiting.pop(self, None)
        if self.expired:
            self._task.uncancel()


async def _nothing() -> None:
    """For what comes too late."""


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0
