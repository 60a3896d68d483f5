"""B2, B4, B5 and B7: what a client makes of a dependency's answers. The exchanges are scripted."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from opentelemetry.trace import Tracer, get_tracer
from prometheus_client import CollectorRegistry

from chassis import client as module
from chassis.breaker import CircuitBreaker, State
from chassis.client import DependencyClient, DependencyResponse, DependencyUnavailable
from chassis.exchange import Call, ExchangeFailed, Target, open_session
from chassis.metrics import DependencyMetrics

RECOVERY = 30.0
Answer = Callable[[], Awaitable[DependencyResponse]]


class Script:
    """Answers exchanges in the order written: a status, `timeout`, `error` or `hang`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.calls: list[Call] = []
        self.attempts: list[int] = []
        self.slept: list[float] = []
        self.answers: list[str] = []
        self.headers: dict[str, str] = {}

    def will(self, answers: str) -> None:
        self.answers = answers.split()

    async def exchange(
        self, session: aiohttp.ClientSession, tracer: Tracer, call: Call, *, attempt: int
    ) -> DependencyResponse:
        self.calls.append(call)
        self.attempts.append(attempt)
        answer = self.answers.pop(0)
        self.now += 0.25
        if answer == "hang":
            await asyncio.Event().wait()
        if answer == "timeout":
            raise ExchangeFailed("timeout", "TimeoutError")
        if answer == "error":
            raise ExchangeFailed("error", "ClientConnectorError")
        return DependencyResponse(int(answer), self.headers, b"{}")

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class Bench:
    """A client with everything around it in a test's hands."""

    def __init__(self, session: aiohttp.ClientSession, script: Script) -> None:
        self.registry = CollectorRegistry()
        self.breaker = CircuitBreaker(
            "auth-service", recovery_timeout=RECOVERY, clock=lambda: script.now
        )
        self.client = DependencyClient(
            "auth-service",
            Target("http://auth-service:8002"),
            session=session,
            breaker=self.breaker,
            metrics=DependencyMetrics("user_service_auth_service", "auth-service", self.registry),
            tracer=get_tracer(__name__),
            clock=lambda: script.now,
            sleep=script.sleep,
            uniform=lambda low, high: high,
        )
        self._script = script

    async def get(self, answers: str, **options: Any) -> DependencyResponse:
        self._script.will(answers)
        return await self.client.request("GET", "/a", **options)

    async def fail(
        self, answers: str, method: str = "GET", **options: Any
    ) -> DependencyUnavailable:
        self._script.will(answers)
        with pytest.raises(DependencyUnavailable) as failed:
            await self.client.request(method, "/a", **options)
        return failed.value

    async def save_up(self, retries: int) -> None:
        """Make as many calls as pay for some retries."""
        for _ in range(5 * retries):
            await self.get("200")
        self._script.calls.clear()
        self._script.attempts.clear()

    def counted(self) -> dict[str, float]:
        """Calls by status, those that happened."""
        name = "user_service_auth_service_requests_total"
        return {
            sample.labels["status"]: sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == name and sample.value
        }


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    script = Script()
    monkeypatch.setattr(module, "exchange", script.exchange)
    return script


@pytest.fixture
async def bench(script: Script) -> AsyncIterator[Bench]:
    async with open_session(dependencies=1, timeout=5, user_agent="user/1.0") as session:
        yield Bench(session, script)


@pytest.mark.criterion("B2")
class TestVerdicts:
    @pytest.mark.parametrize("answer", ["500", "503", "599", "timeout", "error"])
    async def test_failures_count_for_the_breaker(self, bench: Bench, answer: str) -> None:
        for _ in range(5):
            await bench.fail(answer, retries=0)
        assert bench.breaker.state is State.OPEN
        assert bench.counted() == {answer: 5}

    @pytest.mark.parametrize("status", [200, 204, 302, 400, 401, 404, 429])
    async def test_other_answers_are_the_callers_to_judge(self, bench: Bench, status: int) -> None:
        for _ in range(20):
            assert (await bench.get(str(status))).status == status
        assert bench.breaker.state is State.CLOSED
        assert bench.counted() == {str(status): 20}

    async def test_every_attempt_counts(self, bench: Bench) -> None:
        await bench.save_up(2)
        await bench.fail("500 timeout error")
        assert bench.counted() == {"200": 10, "500": 1, "timeout": 1, "error": 1}

    async def test_the_callers_cancellation_is_neutral(self, bench: Bench, script: Script) -> None:
        for _ in range(20):
            script.will("hang")
            task = asyncio.create_task(bench.client.request("GET", "/a"))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert bench.breaker.state is State.CLOSED
        assert bench.counted() == {}

    async def test_calls_are_timed(self, bench: Bench) -> None:
        await bench.get("200")
        await bench.fail("error", retries=0)
        name = "user_service_auth_service_duration_seconds"
        assert bench.registry.get_sample_value(f"{name}_count") == 2
        assert bench.registry.get_sample_value(f"{name}_sum") == 0.5


@pytest.mark.criterion("B4")
class TestUnavailable:
    async def test_open_means_no_call_and_the_time_that_is_left(
        self, bench: Bench, script: Script
    ) -> None:
        for _ in range(5):
            await bench.fail("error", retries=0)
        script.calls.clear()
        script.now += 10.25
        error = await bench.fail("")
        assert error.headers == {"Retry-After": "20"}
        assert script.calls == []
        assert bench.counted() == {"error": 5, "circuit_open": 1}

    @pytest.mark.criterion("E5")
    @pytest.mark.parametrize("answer", ["500", "timeout", "error"])
    async def test_the_caller_is_told_the_name_and_nothing_else(
        self, bench: Bench, answer: str
    ) -> None:
        error = await bench.fail(answer, retries=0)
        assert error.status == 503
        assert error.details == {"code": "dependency_unavailable", "dependency": "auth-service"}
        assert error.message == "A service that this request depends on is not available"
        assert error.headers == {"Retry-After": "1"}
        assert error.__cause__ is None
        assert error.__context__ is None or error.__suppress_context__

    @pytest.mark.criterion("B7")
    async def test_failures_are_logged(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        await bench.fail("timeout", retries=0)
        (record,) = caplog.records
        assert (record.message, record.levelno) == ("dependency_call_failed", logging.WARNING)
        assert record.__dict__["dependency"] == "auth-service"
        assert record.__dict__["outcome"] == "timeout"
        assert record.__dict__["duration_ms"] == 250


@pytest.mark.criterion("B5")
class TestRetries:
    async def test_a_failed_call_is_tried_again(self, bench: Bench, script: Script) -> None:
        await bench.save_up(1)
        assert (await bench.get("error 200")).status == 200
        assert script.attempts == [0, 1]
        assert script.slept == [0.1]

    async def test_at_most_twice_with_longer_waits(self, bench: Bench, script: Script) -> None:
        await bench.save_up(10)
        await bench.fail("500 500 500 200", retries=10)
        assert script.attempts == [0, 1, 2]
        assert script.slept == [0.1, 0.2]

    async def test_the_budget_starts_empty(self, bench: Bench, script: Script) -> None:
        await bench.fail("error 200")
        assert script.attempts == [0]

    async def test_the_budget_is_20_percent_of_the_calls(
        self, bench: Bench, script: Script
    ) -> None:
        for _ in range(20):
            await bench.get("200")
            await bench.get("200")
            await bench.get("200")
            await bench.get("200")
            await bench.get("500 200")
        assert len(script.calls) == 120
        await bench.fail("500 200")

    @pytest.mark.parametrize("method", ["POST", "PATCH"])
    async def test_only_what_is_idempotent(self, bench: Bench, script: Script, method: str) -> None:
        await bench.save_up(2)
        await bench.fail("error 200", method)
        assert script.attempts == [0]

    async def test_not_when_the_wait_reaches_the_deadline(
        self, bench: Bench, script: Script, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await bench.save_up(2)
        monkeypatch.setattr("chassis.limits.remaining", lambda: 0.1)
        await bench.fail("error 200")
        assert script.attempts == [0]
        monkeypatch.setattr("chassis.limits.remaining", lambda: 0.11)
        await bench.get("error 200")

    async def test_never_of_a_rejection(self, bench: Bench, script: Script) -> None:
        await bench.save_up(2)
        for _ in range(10):
            bench.breaker.acquire().failure()
            if bench.breaker.state is State.OPEN:
                break
        await bench.fail("200")
        assert script.calls == []
        assert script.slept == []
        assert bench.counted() == {"200": 10, "circuit_open": 1}

    async def test_not_when_the_failure_opened_the_breaker(
        self, bench: Bench, script: Script
    ) -> None:
        await bench.save_up(10)
        for _ in range(4):
            bench.breaker.acquire().failure()
        error = await bench.fail("error 200")
        assert error.headers == {"Retry-After": "30"}
        assert script.slept == []

    async def test_the_wait_that_the_dependency_asks_for_is_kept(
        self, bench: Bench, script: Script
    ) -> None:
        await bench.save_up(1)
        script.headers = {"Retry-After": "1"}
        await bench.get("503 200")
        assert script.slept == [1.0]

    async def test_a_long_wait_is_left_to_the_caller(self, bench: Bench, script: Script) -> None:
        await bench.save_up(1)
        script.headers = {"Retry-After": "30"}
        await bench.fail("503 200")
        assert script.slept == []

    async def test_a_retry_is_a_call_that_the_breaker_may_refuse(
        self, bench: Bench, script: Script
    ) -> None:
        await bench.save_up(1)

        async def open_meanwhile(seconds: float) -> None:
            for _ in range(4):
                bench.breaker.acquire().failure()

        bench.client._sleep = open_meanwhile
        await bench.fail("error 200")
        assert script.attempts == [0]
        assert bench.counted() == {"200": 5, "error": 1, "circuit_open": 1}
