"""Improvement 5, the database: one engine per application, explicit transactions, no request that hangs.

`async with database.transaction() as session:` is the only way in. It commits when the block ends, so before the
handler returns and the response is sent. PostgreSQL through asyncpg; in development an embedded SQLite file when
`DATABASE_URL` is not set. A database that is away or full becomes a 503, whatever the driver calls it.
"""

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Annotated, Any

import asyncpg
from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator
from sqlalchemy import URL, exc, make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_sessionmaker
from sqlalchemy.pool import NullPool

from chassis.engine import ASYNCPG, SCHEMES, create_engine, problem_with, trace_engine
from chassis.errors import ServiceUnavailable
from chassis.settings import ChassisSettings, RequiredWhenDeployed, is_deployed
from chassis.tracing import Tracing

EMBEDDED = "sqlite+aiosqlite:///app.db"

POOL_TIMEOUT = 2.0
ROLLBACK_TIMEOUT = 0.5
RECYCLE_SECONDS = 300
"""Age at which a connection is replaced: load balancers forget idle ones silently after 350 s."""

MIGRATION_LOCK = 0x6368617373697300
"""Key of the advisory lock; any number that every replica agrees on."""

MIGRATION_POLL = 0.5
"""Seconds after which a replica asks again whether it is its turn."""

TEMPORARY_SQLSTATES = ("08", "40", "53", "57P")
"""Connection, deadlock and serialisation, out of resources, shutting down: another try may succeed."""

TEMPORARY_SQLITE = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN)

logger = logging.getLogger(__name__)

_migrating = threading.Lock()  # Alembic's context is one per process


def _database_url(value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
    if value is None:
        return None
    problem = "must look like postgresql://user:password@host:5432/database"
    # What `echo` wrote into a secret ends with a newline.
    value = SecretStr(value.get_secret_value().strip())
    try:
        url = make_url(value.get_secret_value())
        # What nobody could connect to: labels that are empty or too long, for one.
        for host in (url.host or "").split(","):
            host.encode("idna")
    except (exc.ArgumentError, ValueError):
        raise ValueError(problem) from None
    if url.port is not None and not 0 < url.port < 65536:
        raise ValueError(problem)
    if "@" in (url.host or ""):
        raise ValueError(f"{problem}, with an @ in the password as %40")
    if url.drivername in SCHEMES:
        if reason := problem_with(url.query):
            raise ValueError(f"{problem}?sslmode=require: {reason}")
        url = url.set(drivername=ASYNCPG)
        return SecretStr(url.render_as_string(hide_password=False))
    if is_deployed(info):
        raise ValueError(problem)
    if url.drivername != "sqlite+aiosqlite" or url.database in (None, "", ":memory:"):
        raise ValueError(f"{problem} or sqlite+aiosqlite:///file.db")
    return value


class DatabaseSettings(ChassisSettings):
    """The variables of a service that has a database."""

    database_url: Annotated[
        SecretStr | None, RequiredWhenDeployed, AfterValidator(_database_url)
    ] = Field(
        None, description="postgresql://user:password@host:5432/database; SQLite in development"
    )
    db_pool_min_size: int = Field(5, ge=1, le=1000, description="Connections that are kept open")
    db_pool_max_size: int = Field(
        20,
        ge=1,
        le=1000,
        description="Connections at most; a request that gets none in time is 503",
    )

    @field_validator("db_pool_max_size")
    @classmethod
    def _not_below_minimum(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("db_pool_min_size", 0):
            raise ValueError("must not be smaller than DB_POOL_MIN_SIZE")
        return value


class Database:
    """The application's engine and the transactions on it (D1, D2).

    Args:
        settings: where the database is and how many connections it may get.
        tracing: whose provider gets the database spans.
    """

    def __init__(self, settings: DatabaseSettings, tracing: Tracing) -> None:
        url = _url(settings)
        self._engine = create_engine(
            url,
            pool_size=settings.db_pool_min_size,
            max_overflow=settings.db_pool_max_size - settings.db_pool_min_size,
            pool_timeout=POOL_TIMEOUT,
            pool_recycle=RECYCLE_SECONDS,
        )
        trace_engine(self._engine, tracing.provider)
        # A new connection each time, never one of the pool's: a busy pool must not fail readiness, and connections
        # that are open already must not hide that new ones hang. Not traced (T4).
        self._probe = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)
        self._down = False

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Open a unit of work: committed when the block ends, rolled back when it raises.

        A handler opens one at a time, so that no request holds two connections (D2).

        Raises:
            ServiceUnavailable: no connection in time, or the database went away; 503.
            sqlalchemy.exc.IntegrityError: a constraint said no, at the latest at the commit; the caller knows which.
        """
        session = self._sessions()
        try:
            try:
                # Connect now: here an OSError is the database's, inside the block it may be the caller's.
                await session.connection()
            except (OSError, exc.SQLAlchemyError) as error:
                raise self._failed(error) from error
            yield session
            await session.commit()
        except exc.DBAPIError as error:
            if _is_temporary(error):
                raise self._failed(error) from error
            raise
        finally:
            await _release(session)
        self._worked()

    async def check(self) -> None:
        """Ask the database for a sign of life, for the readiness probe; whatever is raised means no."""
        try:
            async with self._probe.connect() as connection:
                await connection.execute(text("SELECT 1"))
        except exc.DBAPIError as error:
            # Full is not down: the connections in the pools go on working, and if every replica turned unready for the
            # lack of one more, nothing would be served at all.
            if _sqlstate(error) != asyncpg.TooManyConnectionsError.sqlstate:
                raise

    async def aclose(self) -> None:
        """Close all idle connections; returns at once even when the server hangs."""
        await self._engine.dispose()

    def _failed(self, error: Exception) -> ServiceUnavailable:
        # Once per outage: each request that suffers from it has an ERROR line of its own already.
        if not self._down:
            self._down = True
            cause = getattr(error, "orig", error)
            logger.warning("database_down", extra={"reason": f"{type(cause).__name__}: {cause}"})
        return _unavailable()

    def _worked(self) -> None:
        if self._down:
            self._down = False
            logger.info("database_up")


def unique_violation(error: exc.IntegrityError) -> str | None:
    """Return the name of the unique constraint that `error` is about, or `None` when it is about something else.

    SQLite tells `table.one, table.other` instead of a name. Spelt the way PostgreSQL names unique constraints by
    default (`<table>_<one>_<other>_key`), both give the same answer; for a primary key they do not.
    """
    cause: Any = error.orig
    if isinstance(cause, sqlite3.IntegrityError):
        kind, _, places = str(cause).partition(" constraint failed: ")
        table, _, _ = places.partition(".")
        columns = [place.partition(".")[2] for place in places.split(", ")]
        return "_".join((table, *columns, "key")) if kind == "UNIQUE" else None
    if _sqlstate(error) != asyncpg.UniqueViolationError.sqlstate:
        return None
    return getattr(error.driver_exception, "constraint_name", None)


def migrate(settings: DatabaseSettings, scripts: Path = Path("migrations")) -> None:
    """Bring the schema to the newest revision; on PostgreSQL, several replicas may do so at once.

    Runs its own event loop, so call it from a thread when one is running already.

    Raises:
        ServiceUnavailable: the database cannot be reached; the message holds no address.
    """
    # Imported here: 0.3 s that no deployed service pays at its start, and a list of plugins that nobody asked for.
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"settings": settings})
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    with _migrating:
        command.upgrade(config, "head")


@contextlib.asynccontextmanager
async def migration_connection(settings: DatabaseSettings) -> AsyncIterator[AsyncConnection]:
    """Connect for `migrations/env.py`; on PostgreSQL, holding a lock that makes other replicas wait for their turn.

    Raises:
        ServiceUnavailable: the database cannot be reached, or went away in the middle.
    """
    engine = create_engine(_url(settings), poolclass=NullPool)
    try:
        connection = await engine.connect()
    except (OSError, exc.SQLAlchemyError) as error:
        raise _unavailable() from error
    try:
        if engine.dialect.name == "postgresql":
            await _take_turn(connection)
        yield connection
        await connection.commit()
    except exc.DBAPIError as error:
        if _is_temporary(error):
            raise _unavailable() from error
        raise
    finally:
        if engine.dialect.name == "postgresql":
            await _bounded(_end_turn(connection))
        await connection.close()


async def _take_turn(connection: AsyncConnection) -> None:
    # The lock belongs to the session, not to a transaction: migrations may commit in between. It ends with the
    # connection, also when the process is killed. Asked for again and again instead of waited for: a waiting statement
    # has a snapshot, and CREATE INDEX CONCURRENTLY of the replica that has the lock waits for the end of all of them.
    take = text(f"SELECT pg_try_advisory_lock({MIGRATION_LOCK})")
    waiting = False
    while not await connection.scalar(take):
        await connection.commit()
        if not waiting:
            waiting = True
            logger.info("waiting_for_migration")
        await asyncio.sleep(MIGRATION_POLL)
    await connection.commit()


async def _end_turn(connection: AsyncConnection) -> None:
    # Behind a pooler the session, and with it the lock, outlives the connection. Asked of the driver, which prepares no
    # statement for it: an old PgBouncer mixes those up.
    await connection.rollback()
    driver: Any = (await connection.get_raw_connection()).driver_connection
    await driver.execute(f"SELECT pg_advisory_unlock({MIGRATION_LOCK})")


def _url(settings: DatabaseSettings) -> URL:
    if settings.database_url is None:
        return make_url(EMBEDDED)
    return make_url(settings.database_url.get_secret_value())


def _is_temporary(error: exc.DBAPIError) -> bool:
    if error.connection_invalidated:
        return True
    if isinstance(error.orig, sqlite3.Error):
        return error.orig.sqlite_errorcode & 0xFF in TEMPORARY_SQLITE
    return _sqlstate(error).startswith(TEMPORARY_SQLSTATES)


def _sqlstate(error: exc.DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""


def _unavailable() -> ServiceUnavailable:
    return ServiceUnavailable("database_unavailable", "The database is not available right now")


async def _release(session: AsyncSession) -> None:
    try:
        # Not left to close(): after a COMMIT that failed it takes the transaction for ended, and SQLite's is not.
        if session.in_transaction():
            await _bounded(session.rollback())
    finally:
        await _bounded(session.close())


async def _bounded(end: Awaitable[None]) -> None:
    # Without the bound, the rollback of a failed or cancelled request would wait for a database that hangs. One that is
    # cut off throws its connection away; whatever it raises, the transaction is over.
    with contextlib.suppress(TimeoutError, OSError, exc.SQLAlchemyError):
        async with asyncio.timeout(ROLLBACK_TIMEOUT):
            await end
