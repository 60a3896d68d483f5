"""The states of a service and the orderly end of what it holds."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from enum import StrEnum
from types import TracebackType
from typing import Self, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")
CLOSE_TIMEOUT = 5.0


class State(StrEnum):
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"


class Lifecycle:
    """starting → ready → draining; there is no way back."""

    def __init__(self) -> None:
        self.state = State.STARTING
        self.draining = False

    def mark_ready(self) -> None:
        if self.state is State.STARTING:
            self.state = State.READY

    def drain(self) -> None:
        self.state = State.DRAINING
        self.draining = True


@asynccontextmanager
async def log_failures(lifespan: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
    """Log why an application does not start or stop as an exception; Starlette makes a text of it."""
    event = "startup_failed"
    try:
        async with lifespan as state:
            event = "shutdown_failed"
            yield state
    except (asyncio.CancelledError, GeneratorExit):
        # An end that is forced.
        raise
    except BaseException:
        # Also sys.exit() and a panic of an extension.
        logger.exception(event)
        raise


class Resources:
    """Closes what was opened in reverse order, each with a bound, and goes on when one fails."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    def push(
        self, name: str, aclose: Callable[[], Awaitable[None]], timeout: float = CLOSE_TIMEOUT
    ) -> None:
        """Have `aclose` called at the end, for at most `timeout` seconds."""

        async def close() -> None:
            try:
                async with asyncio.timeout(timeout):
                    await aclose()
            except Exception:
                logger.exception("resource_not_closed", extra={"resource": name})

        self._stack.push_async_callback(close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()
