"""In development the schema follows the code: migrations are applied when the service starts."""

import asyncio
import contextlib
import logging

from chassis.database import Database, DatabaseSettings, migrate
from chassis.errors import ServiceUnavailable
from chassis.settings import Environment

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


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
        """Try once, and go on in the background if the database cannot be reached."""
        if not self._done and not await self._try():
            self._task = asyncio.create_task(self._retry())

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

    async def _retry(self) -> None:
        try:
            while not await self._try():  # noqa: ASYNC110  # a database sends no event
                await asyncio.sleep(RETRY_SECONDS)
        except Exception:
            # Nobody waits for this task: without the line it would be unready for ever, silently.
            logger.exception("migrations_failed")

    async def _try(self) -> bool:
        try:
            await asyncio.to_thread(migrate, self._settings)
        except ServiceUnavailable as error:
            logger.warning("migrations_delayed", extra={"reason": error.message})
        else:
            self._done = True
        return self._done
