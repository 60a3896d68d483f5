"""What one request may take: time (`REQUEST_TIMEOUT`) and body size (`MAX_BODY_BYTES`)."""

import asyncio
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
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

        await self.app(scope, limited, send)

    def _too_large(self) -> HTTPException:
        # FastAPI's own class: whatever else `receive` raises becomes a 400 there.
        return HTTPException(413, f"The request body is larger than {self.max_bytes} bytes")


class RequestTimeout:
    """Cancels a request that has not begun to answer after `seconds`, and answers 503.

    A response that has begun may stream for longer. Whatever a handler makes of its cancellation,
    also an answer or an error of its own, comes too late.
    """

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_in_time(message: Message) -> None:
            if timeout.expired():
                return
            if message["type"] == "http.response.start":
                timeout.reschedule(None)
            await send(message)

        deadline = asyncio.get_running_loop().time() + self.seconds
        token = _deadline.set(deadline)
        timeout = asyncio.timeout_at(deadline)
        try:
            async with timeout:
                await self.app(scope, receive, send_in_time)
        except Exception:
            if not timeout.expired():
                raise
        finally:
            _deadline.reset(token)
        if timeout.expired():
            response = error_response(scope, 503, "The request took too long")
            await response(scope, receive, send)


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0
