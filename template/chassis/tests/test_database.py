"""D1, D2 and T4, on the embedded database."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, DisconnectionError, IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from chassis import database as module
from chassis import engine
from chassis.configuration import load
from chassis.database import Database, DatabaseSettings, unique_violation
from chassis.errors import ServiceUnavailable
from chassis.service import read
from chassis.tracing import Tracing

TABLES = (
    "CREATE TABLE parents (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    "CREATE TABLE children (parent INTEGER REFERENCES parents DEFERRABLE INITIALLY DEFERRED)",
    "CREATE TABLE places (x INTEGER, y INTEGER, UNIQUE (x, y))",
)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in DatabaseSettings.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)


def settings(**overrides: Any) -> DatabaseSettings:
    return load(DatabaseSettings, _env_file=None, **overrides)


@contextlib.asynccontextmanager
async def opened(
    url: str, **overrides: Any
) -> AsyncIterator[tuple[Database, InMemorySpanExporter]]:
    values = settings(database_url=url, **overrides)
    tracing = Tracing(read(), values)
    spans = InMemorySpanExporter()
    tracing.add_processor(SimpleSpanProcessor(spans))
    database = Database(values, tracing)
    try:
        yield database, spans
    finally:
        await database.aclose()


async def execute(database: Database, *statements: str) -> list[Any]:
    async with database.transaction() as session:
        return [await _rows(session, statement) for statement in statements]


async def _rows(session: AsyncSession, statement: str) -> list[tuple[Any, ...]]:
    result = cast(Any, await session.execute(text(statement)))
    return [tuple(row) for row in result] if result.returns_rows else []


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path}/test.db"


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    async with opened(url) as (database, _):
        await execute(database, *TABLES)
        yield database


@pytest.mark.criterion("D2")
async def test_the_end_of_the_block_commits(database: Database) -> None:
    await execute(database, "INSERT INTO parents VALUES (1, 'a')")
    assert await execute(database, "SELECT name FROM parents") == [[("a",)]]


@pytest.mark.criterion("D2")
async def test_an_exception_rolls_back(database: Database) -> None:
    with pytest.raises(LookupError):
        async with database.transaction() as session:
            await session.execute(text("INSERT INTO parents VALUES (1, 'a')"))
            raise LookupError
    assert await execute(database, "SELECT name FROM parents") == [[]]


@pytest.mark.criterion("D2")
async def test_a_failing_commit_raises(database: Database) -> None:
    with pytest.raises(IntegrityError):
        await execute(database, "INSERT INTO children VALUES (404)")
    assert await execute(database, "SELECT parent FROM children") == [[]]


async def test_unique_violations_have_the_name_that_postgresql_gives(database: Database) -> None:
    with pytest.raises(IntegrityError) as taken:
        await execute(database, *2 * ["INSERT INTO parents (name) VALUES ('a')"])
    assert unique_violation(taken.value) == "parents_name_key"
    with pytest.raises(IntegrityError) as occupied:
        await execute(database, *2 * ["INSERT INTO places VALUES (1, 2)"])
    assert unique_violation(occupied.value) == "places_x_y_key"
    with pytest.raises(IntegrityError) as missing:
        await execute(database, "INSERT INTO parents VALUES (1, NULL)")
    assert unique_violation(missing.value) is None


async def test_the_embedded_database_is_set_up(database: Database) -> None:
    pragmas = await execute(
        database, "PRAGMA journal_mode", "PRAGMA foreign_keys", "PRAGMA busy_timeout"
    )
    assert pragmas == [[("wal",)], [(1,)], [(5000,)]]


@pytest.mark.criterion("D1")
async def test_an_empty_pool_is_503_in_time_and_readiness_does_not_mind(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POOL_TIMEOUT", 0.01)
    async with (
        opened(url, db_pool_min_size=1, db_pool_max_size=1) as (database, _),
        database.transaction(),
    ):
        with pytest.raises(ServiceUnavailable) as refused:
            await execute(database, "SELECT 1")
        await database.check()
    assert refused.value.details == {"code": "database_unavailable"}
    assert refused.value.headers == {"Retry-After": "1"}


async def test_a_locked_database_is_503_and_an_error_in_the_statement_is_not(
    database: Database,
) -> None:
    async with database.transaction() as session:
        await session.execute(text("INSERT INTO parents VALUES (1, 'a')"))
        with pytest.raises(ServiceUnavailable):
            await execute(
                database, "PRAGMA busy_timeout = 0", "INSERT INTO parents VALUES (2, 'b')"
            )
    with pytest.raises(OperationalError):
        await execute(database, "SELECT nothing FROM nowhere")


async def test_trouble_of_the_caller_stays_the_callers(database: Database) -> None:
    with pytest.raises(TimeoutError):
        async with database.transaction():
            raise TimeoutError


@pytest.mark.criterion("S2")
async def test_nobody_listening_is_503_logged_once_without_secrets(
    unused_tcp_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"postgresql://user:hunter2@127.0.0.1:{unused_tcp_port}/db"
    async with opened(url) as (database, _):
        for _ in range(3):
            with pytest.raises(ServiceUnavailable) as refused:
                await execute(database, "SELECT 1")
        with pytest.raises(OSError, match="Connect"):
            await database.check()
    assert str(unused_tcp_port) not in refused.value.message
    assert [record.message for record in caplog.records] == ["database_down"]
    assert "hunter2" not in str(vars(caplog.records[0]))


async def test_the_end_of_an_outage_is_logged(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "chassis.database")
    with monkeypatch.context() as patch, pytest.raises(ServiceUnavailable):
        patch.setattr(AsyncSession, "connection", _refuse)
        await execute(database, "SELECT 1")
    await execute(database, "SELECT 1")
    await execute(database, "SELECT 1")
    assert [record.message for record in caplog.records] == ["database_down", "database_up"]


async def _refuse(session: AsyncSession) -> None:
    raise ConnectionRefusedError


@pytest.mark.criterion("H2")
@pytest.mark.parametrize(("sqlstate", "healthy"), [("53300", True), ("28P01", False)])
async def test_a_full_server_is_not_down(
    database: Database, monkeypatch: pytest.MonkeyPatch, sqlstate: str, healthy: bool
) -> None:
    class Refused(Exception):
        pass

    def connect() -> None:
        refused = Refused()
        refused.sqlstate = sqlstate  # type: ignore[attr-defined]
        raise DBAPIError("SELECT 1", None, refused)

    monkeypatch.setattr(database, "_probe", SimpleNamespace(connect=connect))
    with contextlib.nullcontext() if healthy else pytest.raises(DBAPIError):
        await database.check()


@pytest.fixture
async def hanging_url() -> AsyncIterator[str]:
    """Where connections are accepted and nothing is ever said."""
    release = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    yield f"postgresql://127.0.0.1:{server.sockets[0].getsockname()[1]}/db"
    server.close()
    release.set()


async def test_a_server_that_hangs_is_503_and_its_check_can_be_cut_off(
    hanging_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "CONNECT_TIMEOUT", 0.05)
    async with opened(hanging_url) as (database, _):
        with pytest.raises(ServiceUnavailable):
            await execute(database, "SELECT 1")
    monkeypatch.setattr(engine, "CONNECT_TIMEOUT", 60)
    async with opened(hanging_url) as (database, _), asyncio.timeout(5):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(database.check(), 0.05)


async def test_a_rollback_that_hangs_is_cut_off(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROLLBACK_TIMEOUT", 0.01)
    with monkeypatch.context() as patch, pytest.raises(LookupError):
        async with asyncio.timeout(5), database.transaction() as session:
            patch.setattr(session, "close", asyncio.Event().wait)
            raise LookupError
    await session.close()


def test_a_connection_that_the_server_closed_is_not_handed_out() -> None:
    closed = SimpleNamespace(driver_connection=SimpleNamespace(is_closed=lambda: True))
    with pytest.raises(DisconnectionError):
        engine._refuse_closed(closed, None, None)


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@pytest.mark.criterion("T4")
async def test_spans_show_statements_without_parameters(url: str) -> None:
    async with opened(url) as (database, spans):
        await execute(database, TABLES[0])
        for _ in range(2):
            with pytest.raises(IntegrityError):
                async with database.transaction() as session:
                    statement = text("INSERT INTO parents VALUES (1, :name)")
                    await session.execute(statement, {"name": "hunter2"})
                    await session.execute(statement, {"name": "hunter2"})
        await database.check()
        created, inserted, failed, *_ = spans.get_finished_spans()
    assert attributes(created)["db.system.name"] == "sqlite"
    assert attributes(inserted)["db.query.text"] == "INSERT INTO parents VALUES (1, ?)"
    assert attributes(failed)["error.type"] == "IntegrityError"
    assert not failed.status.is_ok
    assert failed.status.description is None
    shown = "".join(span.to_json() for span in spans.get_finished_spans())
    assert "hunter2" not in shown
    assert "SELECT 1" not in shown


@pytest.mark.criterion("D3")
async def test_two_databases_in_one_process_have_spans_of_their_own(url: str) -> None:
    async with opened(url) as (_, other), opened(url) as (database, spans):
        await execute(database, "SELECT 1")
    assert len(spans.get_finished_spans()) == 1
    assert not other.get_finished_spans()
