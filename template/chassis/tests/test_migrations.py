"""In development the schema follows by itself, also when the database comes late."""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from chassis import migrations
from chassis.errors import ServiceUnavailable
from chassis.migrations import StartupMigration

MakeSettings = Callable[..., Any]
AWAY = ServiceUnavailable("database_unavailable", "away")


class FakeDatabase:
    async def check(self) -> None: ...


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> list[Exception | None]:
    """What each try to migrate ends with, and no pause between tries."""
    left: list[Exception | None] = []

    def migrate(settings: object) -> None:
        outcome = left.pop(0)
        if outcome is not None:
            raise outcome

    monkeypatch.setattr(migrations, "migrate", migrate)
    monkeypatch.setattr(migrations, "RETRY_SECONDS", 0)
    return left


def make(settings: Any) -> StartupMigration:
    return StartupMigration(settings, FakeDatabase())  # type: ignore[arg-type]


async def retries_end(migration: StartupMigration) -> None:
    assert migration._task is not None
    await asyncio.wait_for(migration._task, timeout=5)


async def test_migrations_are_applied_at_the_start(
    make_settings: MakeSettings, outcomes: list[Exception | None]
) -> None:
    outcomes[:] = [None]
    migration = make(make_settings())
    await migration.start()
    await migration.check()
    await migration.aclose()
    assert outcomes == []


@pytest.mark.criterion("H4")
async def test_a_database_that_is_away_delays_readiness_only(
    make_settings: MakeSettings, outcomes: list[Exception | None]
) -> None:
    outcomes[:] = [AWAY, AWAY, None]
    migration = make(make_settings())
    await migration.start()
    with pytest.raises(ServiceUnavailable):
        await migration.check()
    await retries_end(migration)
    await migration.check()
    await migration.aclose()


async def test_a_migration_that_is_broken_stops_the_start(
    make_settings: MakeSettings, outcomes: list[Exception | None]
) -> None:
    outcomes[:] = [LookupError("broken")]
    with pytest.raises(LookupError):
        await make(make_settings()).start()


async def test_a_migration_that_breaks_later_is_logged_and_never_ready(
    make_settings: MakeSettings,
    outcomes: list[Exception | None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    outcomes[:] = [AWAY, LookupError("broken")]
    caplog.set_level(logging.ERROR)
    migration = make(make_settings())
    await migration.start()
    await retries_end(migration)
    assert "migrations_failed" in caplog.messages
    with pytest.raises(ServiceUnavailable):
        await migration.check()
    await migration.aclose()


async def test_closing_ends_the_tries(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def migrate(settings: object) -> None:
        raise AWAY

    monkeypatch.setattr(migrations, "migrate", migrate)
    migration = make(make_settings())
    await migration.start()
    async with asyncio.timeout(2) as limit:
        await migration.aclose()
    assert not limit.expired()
    assert migration._task is not None
    assert migration._task.done()


async def test_deployed_services_do_not_migrate(
    make_settings: MakeSettings, outcomes: list[Exception | None]
) -> None:
    settings = make_settings(environment="staging", allowed_origins="https://staging.example.com")
    migration = make(settings)
    await migration.start()
    await migration.check()


@pytest.mark.criterion("H4")
async def test_a_migration_that_waits_holds_neither_the_listener_nor_the_end(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """For a lock of somebody's forgotten session, say."""
    gate, ended = threading.Event(), threading.Event()

    def migrate(settings: object) -> None:
        gate.wait(10)
        ended.set()

    monkeypatch.setattr(migrations, "migrate", migrate)
    monkeypatch.setattr(migrations, "PATIENCE", 0)
    migration = make(make_settings())
    await migration.start()
    with pytest.raises(ServiceUnavailable):
        await migration.check()
    assert "migrations_delayed" in caplog.messages
    (thread,) = [t for t in threading.enumerate() if t.name == "migrations"]
    assert thread.daemon
    await migration.aclose()
    gate.set()
    assert await asyncio.to_thread(ended.wait, 10)
