"""Improvement 7: liveness says that the loop turns, readiness says whether to send requests here.

Liveness asks nobody: a probe that depends on the database restarts healthy pods when the database
is down. Readiness asks in parallel and in bounded time what the service owns, never other services.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from chassis.errors import error_response
from chassis.lifecycle import Lifecycle, State
from chassis.metrics import Metrics

logger = logging.getLogger(__name__)

LIVE = "/health/live"
READY = "/health/ready"
PROBES = frozenset({LIVE, READY})
CHECK_SECONDS = 1.0
CACHE_SECONDS = 1.0
NO_STORE = {"Cache-Control": "no-store"}

Check = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one round of checks: which are healthy, and whether all critical ones are."""

    checks: dict[str, bool]
    critical_healthy: bool

    def body(self) -> dict[str, dict[str, str]]:
        """Names and states only: a probe tells nobody what failed or where."""
        return {
            name: {"status": "healthy" if healthy else "unhealthy"}
            for name, healthy in self.checks.items()
        }


class Health:
    """The readiness checks of one application.

    Args:
        lifecycle: turns ready with the first round in which every critical check is healthy.
        metrics: shows every check's last result.
        critical: names of the checks that turn readiness to 503.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        lifecycle: Lifecycle,
        metrics: Metrics,
        critical: frozenset[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._critical = critical
        self._clock = clock
        self._checks: dict[str, Check] = {}
        self._last: dict[str, bool] = {}
        self._round: asyncio.Task[Report] | None = None
        self._round_started = 0.0
        self._abandoned: set[asyncio.Task[None]] = set()

    def add_check(self, name: str, check: Check) -> None:
        """Let readiness report `check`, which raises when it is unhealthy."""
        self._checks[name] = check

    async def report(self) -> Report:
        """Return a round that is at most `CACHE_SECONDS` old; concurrent callers share one."""
        now = self._clock()
        if self._round is None or (
            self._round.done() and now - self._round_started >= CACHE_SECONDS
        ):
            self._round_started = now
            self._round = asyncio.create_task(self._run())
        # A prober that goes away must not take the round from the others.
        return await asyncio.shield(self._round)

    def last(self) -> Report:
        """Return what is known without asking again, as not ready."""
        return Report(dict(self._last), critical_healthy=False)

    async def _run(self) -> Report:
        tasks = {name: asyncio.create_task(_call(check)) for name, check in self._checks.items()}
        if tasks:
            await asyncio.wait(tasks.values(), timeout=CHECK_SECONDS)
        results = {name: self._result(name, task) for name, task in tasks.items()}
        report = Report(results, all(results.get(name, True) for name in self._critical))
        if report.critical_healthy:
            self._lifecycle.mark_ready()
        return report

    def _result(self, name: str, task: asyncio.Task[None]) -> bool:
        reason: str | None
        if task.cancelled():
            reason = "cancelled"
        elif task.done():
            error = task.exception()
            reason = None if error is None else type(error).__name__
        else:
            # Not awaited: a check that hangs may hang in its cancellation as well.
            task.cancel()
            self._abandoned.add(task)
            task.add_done_callback(self._forget)
            reason = "timeout"
        healthy = reason is None
        self._metrics.health(name, healthy)
        if self._last.get(name, True) != healthy:
            level = logging.INFO if healthy else logging.WARNING
            logger.log(level, "health_changed", extra={"check": name, "reason": reason})
        self._last[name] = healthy
        return healthy

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()


async def _call(check: Check) -> None:
    await check()


def install(app: FastAPI, health: Health, lifecycle: Lifecycle) -> None:
    """Serve `/health/live` and `/health/ready`."""

    async def live(request: Request) -> Response:
        return JSONResponse({"status": "alive"}, headers=NO_STORE)

    async def ready(request: Request) -> Response:
        report = health.last() if lifecycle.draining else await health.report()
        if report.critical_healthy and lifecycle.state is State.READY:
            return JSONResponse({"status": "ready", "checks": report.body()}, headers=NO_STORE)
        details = {"state": lifecycle.state.value, "checks": report.body()}
        return error_response(request.scope, 503, "Not ready", details=details, headers=NO_STORE)

    app.add_route(LIVE, live, methods=["GET"], include_in_schema=False)
    app.add_route(READY, ready, methods=["GET"], include_in_schema=False)
