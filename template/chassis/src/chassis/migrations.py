"""In development the schema follows the code: migrations are applied when the service starts."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable

from chassis.database import Database, DatabaseSettings, migrate
from chassis.errors import ServiceUnavailable
from chassis.settings import Environment

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
PATIENCE = 5.0
"""Seconds that the listener waits for the first try."""


class StartupMigration:
    """Applies the migrations in development; elsewhere `python -m app migrate` does.

    A database that is down delays readiness, not the listener: it is tried again until it is there.
    """

    def __init__(self, settings: DatabaseSettings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._done = settings.environment is not Environment.DEVELOPMENT
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Try once, and go on in the background if that takes long or the database cannot be reached."""
        if self._done:
            return
        first = asyncio.create_task(self._try())
        ended, _ = await asyncio.wait({first}, timeout=PATIENCE)
        if not ended:
            logger.warning("migrations_delayed", extra={"reason": "Something holds a lock"})
        if not ended or not first.result():
            self._task = asyncio.create_task(self._retry(first))

    async def check(self) -> None:
        """Raise as long as the database is away or its migrations are not applied."""
        if not self._done:
            raise ServiceUnavailable("database_unavailable", "The migrations are not applied yet")
        await self._database.check()

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _retry(self, first: asyncio.Task[bool]) -> None:
        try:
            applied = await first
            while not applied:
                await asyncio.sleep(RETRY_SECONDS)
                applied = await self._try()
        except Exception:
            # Nobody waits for this task: without the line it would be unready for ever, silently.
            logger.exception("migrations_failed")

    async def _try(self) -> bool:
        try:
            await _in_daemon(lambda: migrate(self._settings))
        except ServiceUnavailable as error:
            logger.warning("migrations_delayed", extra={"reason": error.message})
        else:
            self._done = True
        return self._done


async def _in_daemon(call: Callable[[], None]) -> None:
    # Not asyncio.to_thread: what waits for a lock there would hold the exit of the process.
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if not ended.done():
            ended.set_exception(error) if error else ended.set_result(None)

    def run() -> None:
        error = None
        try:
            call()
        except BaseException as raised:  # handed over, whatever it is
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, name="migrations", daemon=True).start()
    await ended
