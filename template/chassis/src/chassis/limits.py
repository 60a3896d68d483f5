"""What one request may take: time (`REQUEST_TIMEOUT`) and body size (`MAX_BODY_BYTES`)."""

import asyncio
import gc
from collections.abc import Awaitable
from contextvars import ContextVar, copy_context
from inspect import isasyncgen, iscoroutine
from typing import Any, Final

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis.errors import BodyTooLarge, error_response
from chassis.settings import ChassisSettings

_TOO_LATE: Final = (503, "The request took too long")
# The coroutine of anyio's that waits for one of its threads.
_IN_THREAD: Final = "run_sync_in_worker_thread"
# What awaits one step of an asynchronous generator. Other objects may refer to whoever awaits them.
_STEPS: Final = frozenset({"async_generator_asend", "async_generator_athrow"})
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
    is buffered. A request that has not begun to answer in time is answered at once and cancelled; a
    response that has begun may stream for longer. One that a thread works for, since its handler or a
    dependency is no coroutine, is not cancelled. Whatever a handler makes of a refusal, also an answer
    or an error of its own, comes too late.

    `asyncio.timeout` sets a timer for each request and takes it back, which costs more than the log
    line. All requests have the same time here, so they end in the order in which they came, and
    one timer for the oldest is enough.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, seconds: float) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.seconds = seconds
        self.waiting: dict[_Limited, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.seconds
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("a request is served inside a task")
        request = _Limited(self, scope, receive, send, deadline, task)
        token = _deadline.set(deadline)
        if self._timer is None or loop is not self._loop:
            self._start(deadline, loop)
        self.waiting[request] = None
        try:
            await self.app(scope, request.limited_receive, request.send_in_time)
        except (Exception, asyncio.CancelledError) as error:
            if not request.explains(error):
                if isinstance(error, asyncio.CancelledError) and request in self.waiting:
                    # The server, whose time to stop is over: nobody else would answer.
                    response = error_response(scope, 503, "The request was cancelled")
                    await response(scope, receive, send)
                raise
        finally:
            self.waiting.pop(request, None)
            _deadline.reset(token)
        if request.refusal is not None:
            await request.answered()

    def _start(self, deadline: float, loop: asyncio.AbstractEventLoop) -> None:
        if loop is not self._loop:
            # Whatever waited on another loop, in a test, ended with it.
            self.waiting.clear()
        self._loop = loop
        self._timer = loop.call_at(deadline, self._expire, loop)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        while self.waiting:
            oldest = next(iter(self.waiting))
            if oldest.deadline > loop.time():
                self._start(oldest.deadline, loop)
                return
            del self.waiting[oldest]
            oldest.expire()


class _Limited:
    """One request; its time ends by the rules of `asyncio.timeout`."""

    __slots__ = (
        "_answer",
        "_cancelled",
        "_cancelling",
        "_context",
        "_limits",
        "_receive",
        "_received",
        "_scope",
        "_send",
        "deadline",
        "refusal",
        "task",
    )

    def __init__(
        self,
        limits: Limits,
        scope: Scope,
        receive: Receive,
        send: Send,
        deadline: float,
        task: asyncio.Task[Any],
    ) -> None:
        self._limits = limits
        self._scope = scope
        self._receive = receive
        self._received = 0
        self._send = send
        self._cancelled = False
        self._cancelling = task.cancelling()
        self._context = copy_context()
        self._answer: asyncio.Task[None] | None = None
        self.task = task
        self.deadline = deadline
        self.refusal: tuple[int, str] | None = None

    async def limited_receive(self) -> Message:
        if self._received == 0 and _declared_length(self._scope) > self._limits.max_bytes:
            raise self._too_large()
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > self._limits.max_bytes:
            raise self._too_large()
        return message

    def send_in_time(self, message: Message) -> Awaitable[None]:
        if self.refusal is not None:
            return _nothing()
        if message["type"] == "http.response.start":
            self._limits.waiting.pop(self, None)
        return self._send(message)

    def expire(self) -> None:
        self.refusal = _TOO_LATE
        # By a task of its own: one that is cancelled may wait for a thread all the same, as in a task of a task group.
        self._answer = asyncio.get_running_loop().create_task(
            self._respond(*self.refusal), context=self._context
        )
        # Cancelled, it would leave its place among the threads to the next one, and its thread would go on.
        if not _waits_for_thread(self.task):
            self._cancelled = self.task.cancel()

    def explains(self, error: BaseException) -> bool:
        """Whether `error` comes of the refusal, not of somebody else's cancellation as well."""
        others = self.task.cancelling() - self._cancelled > self._cancelling
        refused = self.refusal is not None
        return refused and not (others and isinstance(error, asyncio.CancelledError))

    async def answered(self) -> None:
        """Send the refusal, unless that is done already."""
        if self._cancelled:
            self.task.uncancel()
        if self._answer is not None:
            await self._answer
        elif self.refusal is not None:
            await self._respond(*self.refusal)

    async def _respond(self, status: int, message: str) -> None:
        response = error_response(self._scope, status, message)
        await response(self._scope, self._receive, self._send)

    def _too_large(self) -> BodyTooLarge:
        refusal = (413, f"The request body is larger than {self._limits.max_bytes} bytes")
        if self in self._limits.waiting:
            # Nothing is sent yet. Whatever the application makes of the exception comes too late.
            self.refusal = refusal
        return BodyTooLarge(*refusal)


def _waits_for_thread(task: asyncio.Task[Any]) -> bool:
    """Whether a thread of `run_in_threadpool` works for `task`: for what is no coroutine function."""
    innermost = ""
    awaited: object = task.get_coro()
    while awaited is not None:
        if iscoroutine(awaited):
            innermost, awaited = awaited.cr_code.co_name, awaited.cr_await
        elif isasyncgen(awaited):
            awaited = awaited.ag_await
        elif type(awaited).__name__ in _STEPS:
            # It does not say of which generator. That of a `def` dependency with `yield` is one.
            awaited = next(filter(isasyncgen, gc.get_referents(awaited)), None)
        else:
            break
    return innermost == _IN_THREAD


async def _nothing() -> None:
    """For what comes too late."""


def _declared_length(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0
