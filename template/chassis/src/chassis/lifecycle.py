"""The states of a service and the orderly end of what it holds."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from enum import StrEnum
from types import TracebackType
from typing import Self

logger = logging.getLogger(__name__)

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
