"""S5: migrations run from code, one replica at a time, and say clearly when the database is away."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from alembic.util import CommandError
from sqlalchemy import URL, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import database as module
from chassis.configuration import load
from chassis.database import Database, DatabaseSettings, migrate, migration_connection
from chassis.engine import create_engine
from chassis.errors import ServiceUnavailable
from chassis.service import read
from chassis.tracing import Tracing

needs_postgresql = pytest.mark.skipif(
    "TEST_DATABASE_URL" not in os.environ, reason="needs TEST_DATABASE_URL"
)

ENV = """
import asyncio
from alembic import context
from chassis.database import migration_connection

def upgrade(connection):
    context.configure(connection=connection, version_table="{versions}")
    with context.begin_transaction():
        context.run_migrations()

async def run():
    async with migration_connection(context.config.attributes["settings"]) as connection:
        await connection.run_sync(upgrade)

asyncio.run(run())
"""

REVISION = """
from alembic import op
revision = "1"
down_revision = None

def upgrade():
    op.execute("{statement}")
"""


@pytest.fixture
def table() -> str:
    return f"t{uuid4().hex}"


@pytest.fixture
def settings(tmp_path: Path) -> DatabaseSettings:
    url = os.environ.get("TEST_DATABASE_URL") or f"sqlite+aiosqlite:///{tmp_path}/test.db"
    return load(DatabaseSettings, _env_file=None, database_url=url)


@pytest.fixture(autouse=True)
async def _cleared(settings: DatabaseSettings, table: str) -> AsyncIterator[None]:
    yield
    for name in (table, f"{table}_versions"):
        await rows(settings, f"DROP TABLE IF EXISTS {name}")


@pytest.fixture
def scripts(tmp_path: Path, table: str) -> Path:
    scripts = tmp_path / "100% migrations"
    (scripts / "versions").mkdir(parents=True)
    (scripts / "env.py").write_text(ENV.format(versions=f"{table}_versions"))
    write(scripts, f"CREATE TABLE {table} (a INT)")
    return scripts


def write(scripts: Path, statement: str) -> None:
    (scripts / "versions" / "1.py").write_text(REVISION.format(statement=statement))


async def rows(settings: DatabaseSettings, statement: str) -> list[Any]:
    database = Database(settings, Tracing(read(), settings))
    async with database.transaction() as session:
        result: Any = await session.execute(text(statement))
        found = list(result.scalars()) if result.returns_rows else []
    await database.aclose()
    return found


@pytest.mark.criterion("S5")
async def test_migrations_are_applied_once(
    settings: DatabaseSettings, scripts: Path, table: str
) -> None:
    for _ in range(2):
        await asyncio.to_thread(migrate, settings, scripts)
    assert await rows(settings, f"SELECT a FROM {table}") == []  # noqa: S608
    assert await rows(settings, f"SELECT version_num FROM {table}_versions") == ["1"]  # noqa: S608


async def test_a_migration_that_fails_says_why(settings: DatabaseSettings, scripts: Path) -> None:
    write(scripts, "CREATE NONSENSE")
    with pytest.raises(DBAPIError, match=r"(?i)syntax"):
        await asyncio.to_thread(migrate, settings, scripts)


async def test_nothing_is_found_where_nothing_is(
    settings: DatabaseSettings, tmp_path: Path
) -> None:
    with pytest.raises(CommandError):
        await asyncio.to_thread(migrate, settings, tmp_path / "nowhere")


@pytest.mark.criterion("S2")
async def test_a_database_that_is_away_is_told_without_its_address(
    scripts: Path, unused_tcp_port: int
) -> None:
    url = f"postgresql://user:hunter2@127.0.0.1:{unused_tcp_port}/db"
    settings = load(DatabaseSettings, _env_file=None, database_url=url)
    with pytest.raises(ServiceUnavailable) as refused:
        await asyncio.to_thread(migrate, settings, scripts)
    assert str(refused.value) == "The database is not available right now"
    assert "hunter2" not in repr(refused.value.__cause__)


@needs_postgresql
async def test_replicas_wait_for_each_other(
    settings: DatabaseSettings,
    scripts: Path,
    table: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without a statement that waits: CREATE INDEX CONCURRENTLY of the one that has the lock waits for all of them."""
    monkeypatch.setattr(module, "MIGRATION_POLL", 0.01)
    caplog.set_level("INFO", "chassis")
    async with migration_connection(settings) as first:
        await first.execution_options(isolation_level="AUTOCOMMIT")
        await first.execute(text(f"CREATE TABLE {table}_indexed (a INT)"))
        other = asyncio.create_task(asyncio.to_thread(migrate, settings, scripts))
        asking = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_try_advisory_lock%'"
        async with asyncio.timeout(10):
            while not await rows(settings, asking):  # noqa: ASYNC110  # a server sends no event
                await asyncio.sleep(0)
        await first.execute(text(f"CREATE INDEX CONCURRENTLY ON {table}_indexed (a)"))
        assert not other.done()
        await first.execute(text(f"DROP TABLE {table}_indexed"))
    await other
    assert caplog.messages.count("waiting_for_migration") == 1
    assert await rows(settings, f"SELECT version_num FROM {table}_versions") == ["1"]  # noqa: S608


@needs_postgresql
@pytest.mark.parametrize("statement", ["SELECT 1", "SELECT nothing FROM nowhere"])
async def test_the_turn_ends_also_when_a_pooler_keeps_the_session(
    settings: DatabaseSettings, statement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PgBouncer with pool_mode=transaction, played by a pool that keeps what is closed."""
    engines: list[AsyncEngine] = []

    def pooled(url: URL, **_: Any) -> AsyncEngine:
        engines.append(create_engine(url))
        return engines[-1]

    monkeypatch.setattr(module, "create_engine", pooled)
    with suppress(DBAPIError):
        async with migration_connection(settings) as connection:
            await connection.execute(text(statement))
    async with asyncio.timeout(30), migration_connection(settings):
        pass
    for engine in engines:
        await engine.dispose()
