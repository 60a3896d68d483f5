"""Improvement 10: calls to other services that cannot take this one down with them.

Rules B2 and B4-B8 of the service contract. From the outside in, a call passes the request's
deadline (kept by `chassis.limits`), the retries, the breaker, the attempt's timeout, and goes out.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextvars import Context
from typing import Any, Final, Self

from aiohttp import ClientSession
from opentelemetry.trace import Tracer
from pydantic import Field

from chassis import limits, retry, service
from chassis.breaker import BreakerOpen, CircuitBreaker, State
from chassis.errors import ServiceUnavailable
from chassis.exchange import (
    Call,
    DependencyResponse,
    ExchangeFailed,
    Target,
    exchange,
    open_session,
)
from chassis.metrics import DependencyMetrics, Metrics
from chassis.settings import ChassisSettings, Seconds
from chassis.tracing import Tracing

__all__ = [
    "ClientSettings",
    "Dependencies",
    "DependencyClient",
    "DependencyResponse",
    "DependencyUnavailable",
]

# aiohttp rounds timeouts above 5 s up to a whole second; a call that still runs after that hangs.
PROBE_GRACE: Final = 1.0

logger = logging.getLogger(__name__)


class ClientSettings(ChassisSettings):
    """The variables of outgoing calls."""

    dependency_timeout: Seconds = Field(
        5, description="Seconds that one attempt to call a dependency may take"
    )
    breaker_failure_threshold: int = Field(
        5, ge=1, description="Failures in a row that open a dependency's circuit breaker"
    )
    breaker_recovery_timeout: Seconds = Field(
        30, description="Seconds that an open circuit breaker refuses calls"
    )


class DependencyUnavailable(ServiceUnavailable):
    """A dependency failed, or is left alone because it kept failing: 503 with `Retry-After` (B4).

    Args:
        dependency: its name, for `details.dependency`; nothing else of it is told.
        retry_after: seconds until another try may make sense.
    """

    def __init__(self, dependency: str, *, retry_after: float = 1.0) -> None:
        super().__init__(
            "dependency_unavailable",
            "A service that this request depends on is not available",
            retry_after=retry_after,
            details={"dependency": dependency},
        )


class _AttemptFailed(Exception):
    """The dependency failed in the sense of B2; `delay` is what it asked for before another try."""

    def __init__(self, outcome: str, delay: float = 0.0) -> None:
        super().__init__(outcome)
        self.delay = delay


class DependencyClient:
    """Calls one dependency.

    Args:
        name: the dependency, for metrics, logs and errors.
        target: where it is.
        session: from `exchange.open_session`.
        breaker: its own.
        metrics: its own.
        tracer: makes client spans.
        clock: monotonic seconds.
        sleep: waits before a retry.
        uniform: draws the length of that wait.
    """

    def __init__(
        self,
        name: str,
        target: Target,
        *,
        session: ClientSession,
        breaker: CircuitBreaker,
        metrics: DependencyMetrics,
        tracer: Tracer,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.name = name
        self._target = target
        self._session = session
        self._breaker = breaker
        self._metrics = metrics
        self._tracer = tracer
        self._clock = clock
        self._sleep = sleep
        self._uniform = uniform
        self._budget = retry.RetryBudget()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int | float] | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        retries: int = retry.MAX_RETRIES,
    ) -> DependencyResponse:
        """Call the dependency and return its answer, whatever its status below 500 says.

        Headers of the request that is being handled are not passed on, `Authorization` included,
        unless they stand in `headers`; only the trace context is. Redirects are not followed.

        Args:
            method: of HTTP; only idempotent ones are tried again.
            path: begins with a slash, without segments of dots; quote what a user sent in it.
            params: of the query.
            json: body, sent as JSON; None sends no body.
            headers: to send.
            retries: how often a failed call may be tried again, at most 2.

        Raises:
            DependencyUnavailable: the call failed, or did not go out because the breaker is open.
            ValueError: the path does not begin with a slash, or has a segment `.` or `..`.
        """
        call = self._target.call(method, path, params=params, json=json, headers=headers)
        allowed = retry.retries_for(call.method, retries)
        attempt = 0
        while True:
            try:
                return await self._attempt(call, attempt)
            except BreakerOpen as refused:
                self._metrics.reject()
                raise DependencyUnavailable(self.name, retry_after=refused.retry_after) from None
            except _AttemptFailed as failed:
                delay = self._delay(attempt, failed.delay) if attempt < allowed else None
            if delay is None:
                raise DependencyUnavailable(self.name, retry_after=self._breaker.retry_after)
            await self._sleep(delay)
            attempt += 1

    async def _attempt(self, call: Call, attempt: int) -> DependencyResponse:
        with self._breaker.acquire() as permit:
            if attempt == 0:
                self._budget.deposit()
            started = self._clock()
            try:
                response = await exchange(self._session, self._tracer, call, attempt=attempt)
            except ExchangeFailed as failed:
                permit.failure()
                self._note_failure(failed.outcome, started, reason=failed.reason)
                raise _AttemptFailed(failed.outcome) from None
            if response.status >= 500:
                permit.failure()
                self._note_failure(str(response.status), started)
                wait = retry.requested_delay(response.headers.get("Retry-After"))
                raise _AttemptFailed(str(response.status), wait)
            permit.success()
            self._metrics.observe(str(response.status), self._clock() - started)
            return response

    def _delay(self, attempt: int, requested: float) -> float | None:
        """Seconds to wait before trying again, or None when there must be no other try."""
        delay = max(retry.backoff(attempt, self._uniform), requested)
        remaining = limits.remaining()
        too_late = remaining is not None and delay >= remaining
        if delay > retry.LONGEST_DELAY or too_late or self._breaker.retry_after > 0:
            return None
        return delay if self._budget.withdraw() else None

    def _note_failure(self, outcome: str, started: float, reason: str | None = None) -> None:
        seconds = self._clock() - started
        self._metrics.observe(outcome, seconds)
        logger.warning(
            "dependency_call_failed",
            extra={
                "dependency": self.name,
                "outcome": outcome,
                "reason": reason,
                "duration_ms": round(seconds * 1000, 3),
            },
        )


class Dependencies(Mapping[str, DependencyClient]):
    """A client for every declared dependency, over one session (D1, B6).

    Args:
        session: shared by the clients and closed with this.
        clients: by name.
    """

    def __init__(self, session: ClientSession, clients: Mapping[str, DependencyClient]) -> None:
        self._session = session
        self._clients = dict(clients)

    @classmethod
    async def open(
        cls,
        settings: ClientSettings,
        metrics: Metrics,
        tracing: Tracing,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Make the session and the clients; nothing is called yet, a dependency may be down."""
        if settings.dependency_timeout >= settings.request_timeout:
            # The request's end is neutral to the breaker (B2), so it would never learn of a hang.
            logger.warning(
                "dependency_timeout_too_long",
                extra={"hint": "DEPENDENCY_TIMEOUT should be below REQUEST_TIMEOUT"},
            )
        me = service.read()
        targets = {name: Target(url) for name, url in settings.dependency_urls.items()}
        session = open_session(
            dependencies=len(targets),
            timeout=settings.dependency_timeout,
            user_agent=f"{me.name}/{me.version}",
        )
        tracer = tracing.provider.get_tracer(__name__)
        clients = {
            name: DependencyClient(
                name,
                target,
                session=session,
                breaker=_breaker(name, settings, metrics.breaker(name), clock),
                metrics=metrics.dependency(name),
                tracer=tracer,
                clock=clock,
            )
            for name, target in targets.items()
        }
        return cls(session, clients)

    def __getitem__(self, name: str) -> DependencyClient:
        return self._clients[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._clients)

    def __len__(self) -> int:
        return len(self._clients)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._session.close()


def _breaker(
    name: str,
    settings: ClientSettings,
    set_gauge: Callable[[str], None],
    clock: Callable[[], float],
) -> CircuitBreaker:
    recovery_timeout = settings.breaker_recovery_timeout

    def on_change(state: State) -> None:
        set_gauge(state.value)
        if state is State.OPEN:
            # Without a caller nobody would look, and the gauge would show an outage for ever.
            # In a context of its own: the request that failed has ended by then, and its ids are not this line's.
            asyncio.get_running_loop().call_later(
                recovery_timeout + 0.01, lambda: breaker.state, context=Context()
            )

    breaker = CircuitBreaker(
        name,
        failure_threshold=settings.breaker_failure_threshold,
        recovery_timeout=recovery_timeout,
        probe_timeout=settings.dependency_timeout + PROBE_GRACE,
        on_change=on_change,
        clock=clock,
    )
    return breaker
