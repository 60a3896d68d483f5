"""Liveness asks nobody; readiness asks in parallel, briefly, and tells names and states only."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from chassis import health
from chassis.health import Health
from chassis.lifecycle import Lifecycle, State
from chassis.metrics import Metrics
from chassis.service import read

Connect = Callable[[FastAPI], AbstractAsyncContextManager[httpx2.AsyncClient]]
MakeApp = Callable[..., FastAPI]


async def healthy() -> None: ...


async def unhealthy() -> None:
    raise ConnectionError("10.0.0.7 refused hunter2")


@pytest.fixture
def lifecycle() -> Lifecycle:
    return Lifecycle()


@pytest.fixture
def checks(lifecycle: Lifecycle, clock: Any) -> Health:
    metrics = Metrics(read(), "development")
    return Health(lifecycle, metrics, frozenset({"database"}), clock)


@pytest.mark.criterion("H1")
async def test_liveness_asks_nobody(make_app: MakeApp, connect: Connect) -> None:
    app = make_app()
    app.state.chassis.health.add_check("database", unhealthy)
    async with connect(app) as client:
        response = await client.get("/health/live")
    assert (response.status_code, response.json()) == (200, {"status": "alive"})


@pytest.mark.criterion("H2")
@pytest.mark.criterion("H3")
async def test_only_critical_checks_turn_readiness(make_app: MakeApp, connect: Connect) -> None:
    app = make_app()
    app.state.chassis.health.add_check("database", healthy)
    app.state.chassis.health.add_check("cache", unhealthy)
    async with connect(app) as client:
        response = await client.get("/health/ready")
    assert response.status_code == 200
    assert response.json() == {
        "status": "ready",
        "checks": {"database": {"status": "healthy"}, "cache": {"status": "unhealthy"}},
    }


@pytest.mark.criterion("H3")
async def test_what_is_critical_is_configured(make_app: MakeApp, connect: Connect) -> None:
    app = make_app(readiness_critical="database,cache")
    app.state.chassis.health.add_check("cache", unhealthy)
    async with connect(app) as client:
        assert (await client.get("/health/ready")).status_code == 503


@pytest.mark.criterion("H2")
async def test_with_nothing_to_check_it_is_ready(make_app: MakeApp, connect: Connect) -> None:
    async with connect(make_app()) as client:
        response = await client.get("/health/ready")
    assert response.json() == {"status": "ready", "checks": {}}


@pytest.mark.criterion("H2")
async def test_not_ready_is_a_standard_503_that_gives_nothing_away(
    make_app: MakeApp, connect: Connect
) -> None:
    app = make_app()
    app.state.chassis.health.add_check("database", unhealthy)
    async with connect(app) as client:
        response = await client.get("/health/ready")
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.json() == {
        "error": "Service Unavailable",
        "message": "Not ready",
        "details": {"state": "starting", "checks": {"database": {"status": "unhealthy"}}},
        "trace_id": response.headers["X-Trace-ID"],
    }


@pytest.mark.criterion("H5")
@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
async def test_probes_are_not_stored_allow_head_and_are_not_documented(
    make_app: MakeApp, connect: Connect, path: str
) -> None:
    app = make_app()
    async with connect(app) as client:
        answers = [await client.get(path), await client.head(path)]
        refused = await client.post(path)
    assert {a.headers["Cache-Control"] for a in answers} == {"no-store"}
    assert (answers[1].status_code, answers[1].content) == (200, b"")
    assert refused.status_code == 405
    assert path not in app.openapi()["paths"]


@pytest.mark.criterion("H4")
async def test_draining_answers_at_once_and_asks_nobody(
    make_app: MakeApp, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "CACHE_SECONDS", 0)
    app = make_app()
    asked: list[None] = []

    async def check() -> None:
        asked.append(None)

    app.state.chassis.health.add_check("database", check)
    async with connect(app) as client:
        await client.get("/health/ready")
        app.state.chassis.lifecycle.drain()
        ready, live = await client.get("/health/ready"), await client.get("/health/live")
    assert (ready.status_code, live.status_code, len(asked)) == (503, 200, 1)
    checks = {"database": {"status": "healthy"}}
    assert ready.json()["details"] == {"state": "draining", "checks": checks}


@pytest.mark.criterion("H2")
async def test_checks_run_in_parallel(checks: Health) -> None:
    both = asyncio.Barrier(2)

    async def meet() -> None:
        await both.wait()

    checks.add_check("database", meet)
    checks.add_check("cache", meet)
    assert (await checks.report()).checks == {"database": True, "cache": True}


@pytest.mark.criterion("H2")
async def test_a_check_that_hangs_even_when_cancelled_is_left_behind(
    checks: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = asyncio.Event()

    async def hang() -> None:
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue

    monkeypatch.setattr(health, "CHECK_SECONDS", 0.01)
    checks.add_check("database", hang)
    checks.add_check("cache", healthy)
    report = await checks.report()
    over.set()
    assert (report.checks, report.critical_healthy) == ({"database": False, "cache": True}, False)


@pytest.mark.criterion("H2")
async def test_a_check_that_was_cancelled_is_unhealthy(checks: Health) -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    checks.add_check("database", cancelled)
    assert (await checks.report()).checks == {"database": False}


@pytest.mark.criterion("H2")
async def test_a_round_is_shared_and_cached_briefly(checks: Health, clock: Any) -> None:
    rounds: list[None] = []

    async def count() -> None:
        rounds.append(None)

    checks.add_check("database", count)
    await asyncio.gather(*(checks.report() for _ in range(10)))
    clock.advance(health.CACHE_SECONDS / 2)
    await checks.report()
    assert len(rounds) == 1
    clock.advance(health.CACHE_SECONDS)
    await checks.report()
    assert len(rounds) == 2


@pytest.mark.criterion("H2")
async def test_a_round_that_takes_long_is_not_started_again(checks: Health, clock: Any) -> None:
    rounds: list[None] = []
    go = asyncio.Event()

    async def wait() -> None:
        rounds.append(None)
        await go.wait()

    checks.add_check("database", wait)
    first = asyncio.create_task(checks.report())
    await asyncio.sleep(0)
    clock.advance(health.CACHE_SECONDS * 2)
    second = asyncio.create_task(checks.report())
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(first, second)
    assert len(rounds) == 1


@pytest.mark.criterion("H2")
async def test_a_prober_that_leaves_does_not_end_the_round(checks: Health) -> None:
    go = asyncio.Event()

    async def wait() -> None:
        await go.wait()

    checks.add_check("database", wait)
    first = asyncio.create_task(checks.report())
    second = asyncio.create_task(checks.report())
    await asyncio.sleep(0)
    first.cancel()
    go.set()
    assert (await second).critical_healthy


@pytest.mark.criterion("H4")
async def test_the_first_healthy_round_makes_it_ready(
    checks: Health, lifecycle: Lifecycle, clock: Any
) -> None:
    checks.add_check("database", unhealthy)
    states = []
    for check in (unhealthy, healthy):
        checks.add_check("database", check)
        await checks.report()
        states.append(lifecycle.state)
        clock.advance(health.CACHE_SECONDS)
    assert states == [State.STARTING, State.READY]


@pytest.mark.criterion("H5")
async def test_a_change_is_logged_once(
    checks: Health, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "chassis.health")
    for check in (healthy, unhealthy, unhealthy, healthy, healthy):
        checks.add_check("database", check)
        await checks.report()
        clock.advance(health.CACHE_SECONDS)
    logged = [(r.levelname, r.__dict__["reason"]) for r in caplog.records]
    assert logged == [("WARNING", "ConnectionError"), ("INFO", None)]
    assert "hunter2" not in caplog.text
