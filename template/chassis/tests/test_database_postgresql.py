"""What only PostgreSQL can show; `TEST_DATABASE_URL` names one."""

import asyncio
import os
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import NullPool

from chassis.configuration import load
from chassis.database import Database, DatabaseSettings, unique_violation
from chassis.engine import ASYNCPG, UNKNOWN, create_engine
from chassis.errors import ServiceUnavailable
from chassis.service import read
from chassis.tracing import Tracing

URL = os.environ.get("TEST_DATABASE_URL", "")

# Not written where it is used: a traceback shows the source.
PRIVATE = "ann@example.com"

pytestmark = pytest.mark.skipif(not URL.startswith("postgres"), reason="needs TEST_DATABASE_URL")


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    settings = load(DatabaseSettings, _env_file=None, database_url=URL)
    database = Database(settings, Tracing(read(), settings))
    yield database
    await database.aclose()


async def scalar(database: Database, statement: str, **parameters: Any) -> Any:
    async with database.transaction() as session:
        return await session.scalar(text(statement), parameters)


@pytest.mark.criterion("D2")
async def test_a_deferred_constraint_fails_the_commit(database: Database) -> None:
    with pytest.raises(IntegrityError) as refused:
        async with database.transaction() as session:
            await session.execute(
                text(
                    "CREATE TEMPORARY TABLE pairs (name TEXT CONSTRAINT pairs_name_key "
                    "UNIQUE DEFERRABLE INITIALLY DEFERRED) ON COMMIT DROP"
                )
            )
            await session.execute(text("INSERT INTO pairs VALUES ('a'), ('a')"))
    assert unique_violation(refused.value) == "pairs_name_key"


async def test_other_violations_are_not_about_uniqueness(database: Database) -> None:
    with pytest.raises(IntegrityError) as refused:
        async with database.transaction() as session:
            await session.execute(text("CREATE TEMPORARY TABLE t (a INT NOT NULL) ON COMMIT DROP"))
            await session.execute(text("INSERT INTO t VALUES (NULL)"))
    assert unique_violation(refused.value) is None


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(5):
        while not await condition():  # noqa: ASYNC110  # a server sends no event
            await asyncio.sleep(0)


async def test_a_statement_that_is_cut_off_stops_on_the_server_too(database: Database) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await scalar(database, "SELECT pg_sleep(61)")

    async def stopped() -> bool:
        running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = :query"
        return not await scalar(database, running, query="SELECT pg_sleep(61)")

    await eventually(stopped)


async def test_a_connection_that_the_server_closed_is_replaced_unnoticed(
    database: Database,
) -> None:
    async with database.transaction() as session:
        connection = await (await session.connection()).get_raw_connection()
        driver: Any = connection.driver_connection
        doomed = await session.scalar(text("SELECT pg_backend_pid()"))
        await scalar(database, "SELECT pg_terminate_backend(:pid)", pid=doomed)
        with pytest.raises(DBAPIError):
            await session.execute(text("SELECT 1"))
        await session.rollback()

    async def noticed() -> bool:
        return bool(driver.is_closed())

    await eventually(noticed)
    assert await scalar(database, "SELECT pg_backend_pid()") != doomed


async def test_a_connection_lost_in_the_middle_is_503(database: Database) -> None:
    with pytest.raises(ServiceUnavailable):
        await scalar(database, "SELECT pg_terminate_backend(pg_backend_pid())")


async def test_a_wrong_statement_is_not_503(database: Database) -> None:
    with pytest.raises(DBAPIError):
        await scalar(database, "SELECT nothing FROM nowhere")
    with pytest.raises(DBAPIError):
        await scalar(database, "SELECT CAST(:number AS INT)", number="not a number")


@pytest.mark.parametrize("parameter", sorted(UNKNOWN))
async def test_what_is_refused_in_the_url_would_not_work(parameter: str) -> None:
    url = make_url(URL).set(drivername=ASYNCPG).update_query_dict({parameter: "1"})
    with pytest.raises((DBAPIError, asyncpg.PostgresError)):
        async with create_engine(url, poolclass=NullPool).connect() as connection:
            await connection.execute(text("SELECT 1"))


async def test_the_check_passes(database: Database) -> None:
    await database.check()


@pytest.mark.criterion("T4", "S2")
@pytest.mark.parametrize("deferred", ["", "DEFERRABLE INITIALLY DEFERRED"])
async def test_no_exception_text_has_the_callers_data(database: Database, deferred: str) -> None:
    """PostgreSQL quotes the key that is taken in its DETAIL; the name of the constraint is kept."""
    with pytest.raises(IntegrityError) as refused:
        async with database.transaction() as session:
            table = f"CREATE TEMPORARY TABLE u (a TEXT UNIQUE {deferred}) ON COMMIT DROP"
            await session.execute(text(table))
            for _ in range(2):
                await session.execute(text("INSERT INTO u VALUES (:a)"), {"a": PRIVATE})
    assert unique_violation(refused.value) == "u_a_key"
    assert PRIVATE not in "".join(traceback.format_exception(refused.value))
