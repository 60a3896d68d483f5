"""B1-B3 and B7: when a breaker lets calls out, and which defects it must not have."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from chassis.breaker import BreakerOpen, CircuitBreaker, RollingWindow, State

RECOVERY = 30.0
PROBE = 6.0


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def changes() -> list[State]:
    return []


@pytest.fixture
def breaker(clock: Clock, changes: list[State]) -> CircuitBreaker:
    return make(clock, changes.append)


def make(clock: Clock, on_change: Callable[[State], None] = lambda state: None) -> CircuitBreaker:
    return CircuitBreaker(
        "auth-service",
        failure_threshold=5,
        recovery_timeout=RECOVERY,
        probe_timeout=PROBE,
        on_change=on_change,
        clock=clock,
    )


def report(breaker: CircuitBreaker, outcomes: str) -> None:
    """Make one call for each letter: F fails, S succeeds, C is cancelled."""
    for outcome in outcomes:
        permit = breaker.acquire()
        {"F": permit.failure, "S": permit.success, "C": permit.release}[outcome]()


def open_(breaker: CircuitBreaker) -> None:
    report(breaker, "FFFFF")
    assert breaker.state is State.OPEN


def half_open(breaker: CircuitBreaker, clock: Clock) -> None:
    open_(breaker)
    clock.advance(RECOVERY)
    assert breaker.state is State.HALF_OPEN


def admitted(breaker: CircuitBreaker, callers: int) -> int:
    count = 0
    for _ in range(callers):
        try:
            breaker.acquire()
        except BreakerOpen:
            continue
        count += 1
    return count


@pytest.mark.criterion("B1")
class TestOpening:
    def test_stays_closed_below_the_threshold(self, breaker: CircuitBreaker) -> None:
        report(breaker, "FFFF")
        assert breaker.state is State.CLOSED
        assert breaker.retry_after == 0

    def test_opens_after_five_failures_in_a_row(self, breaker: CircuitBreaker) -> None:
        report(breaker, "FFFFF")
        assert breaker.state is State.OPEN

    def test_a_success_ends_the_row(self, breaker: CircuitBreaker) -> None:
        report(breaker, "FFFFSFFFF")
        assert breaker.state is State.CLOSED

    def test_opens_when_half_of_ten_calls_failed(self, breaker: CircuitBreaker) -> None:
        report(breaker, "SFSFSFSFS")
        after_nine = breaker.state
        report(breaker, "F")
        assert (after_nine, breaker.state) == (State.CLOSED, State.OPEN)

    def test_the_call_that_makes_it_ten_may_itself_have_succeeded(
        self, breaker: CircuitBreaker
    ) -> None:
        report(breaker, "FSFSFSFSFS")
        assert breaker.state is State.OPEN

    def test_stays_closed_when_less_than_half_failed(self, breaker: CircuitBreaker) -> None:
        report(breaker, "SSFFSFSFSS" * 20)
        assert breaker.state is State.CLOSED

    def test_calls_older_than_30_seconds_do_not_count(
        self, breaker: CircuitBreaker, clock: Clock
    ) -> None:
        report(breaker, "SFSFSFSFS")
        clock.advance(30)
        report(breaker, "FS")
        assert breaker.state is State.CLOSED

    def test_calls_of_the_last_29_seconds_count(
        self, breaker: CircuitBreaker, clock: Clock
    ) -> None:
        for outcome in "SFSFSFSFSF":
            report(breaker, outcome)
            clock.advance(3)
        assert breaker.state is State.OPEN

    def test_stays_open_for_the_recovery_timeout(
        self, breaker: CircuitBreaker, clock: Clock
    ) -> None:
        open_(breaker)
        clock.advance(RECOVERY - 0.001)
        assert breaker.state is State.OPEN
        assert admitted(breaker, 50) == 0

    def test_is_half_open_after_it_without_any_call(
        self, breaker: CircuitBreaker, clock: Clock, changes: list[State]
    ) -> None:
        open_(breaker)
        clock.advance(RECOVERY)
        assert breaker.state is State.HALF_OPEN
        assert changes == [State.OPEN, State.HALF_OPEN]

    def test_after_closing_it_remembers_nothing(
        self, breaker: CircuitBreaker, clock: Clock
    ) -> None:
        report(breaker, "SSSSS")
        half_open(breaker, clock)
        report(breaker, "SFFFF")
        assert breaker.state is State.CLOSED

    def test_a_refusal_says_when_to_come_back(self, breaker: CircuitBreaker, clock: Clock) -> None:
        open_(breaker)
        clock.advance(10)
        with pytest.raises(BreakerOpen) as refused:
            breaker.acquire()
        assert refused.value.retry_after == pytest.approx(RECOVERY - 10)


@pytest.mark.criterion("B3")
class TestHalfOpen:
    def test_a_success_closes_it(self, breaker: CircuitBreaker, clock: Clock) -> None:
        half_open(breaker, clock)
        report(breaker, "S")
        assert breaker.state is State.CLOSED

    def test_one_failure_opens_it_for_the_whole_timeout_again(
        self, breaker: CircuitBreaker, clock: Clock
    ) -> None:
        half_open(breaker, clock)
        report(breaker, "F")
        clock.advance(RECOVERY - 0.001)
        assert breaker.state is State.OPEN

    def test_the_next_caller_may_try_after_a_probe_that_was_cancelled(
        self, breaker: CircuitBreaker, clock: Clock
    ) -> None:
        half_open(breaker, clock)
        report(breaker, "C")
        assert breaker.state is State.HALF_OPEN
        assert admitted(breaker, 50) == 1

    def test_a_hung_probe_loses_its_place(self, breaker: CircuitBreaker, clock: Clock) -> None:
        half_open(breaker, clock)
        breaker.acquire()
        clock.advance(PROBE - 0.001)
        assert admitted(breaker, 50) == 0
        clock.advance(0.001)
        assert admitted(breaker, 50) == 1

    @pytest.mark.parametrize("verdict", ["success", "failure", "release"])
    def test_what_a_hung_probe_reports_in_the_end_is_ignored(
        self, breaker: CircuitBreaker, clock: Clock, verdict: str
    ) -> None:
        half_open(breaker, clock)
        hung = breaker.acquire()
        clock.advance(PROBE)
        breaker.acquire()
        getattr(hung, verdict)()
        assert breaker.state is State.HALF_OPEN
        assert admitted(breaker, 50) == 0

    def test_a_refused_caller_waits_for_the_probe_at_most(
        self, breaker: CircuitBreaker, clock: Clock
    ) -> None:
        half_open(breaker, clock)
        breaker.acquire()
        with pytest.raises(BreakerOpen) as refused:
            breaker.acquire()
        assert refused.value.retry_after == pytest.approx(PROBE)


class TestDefectsOfCircuitbreaker:
    """One test for each thing that version 2.1.3 of the package gets wrong."""

    @pytest.mark.criterion("B3")
    async def test_1_half_open_lets_one_of_50_concurrent_callers_out(
        self, breaker: CircuitBreaker, clock: Clock
    ) -> None:
        half_open(breaker, clock)
        gone_out = 0
        answer = asyncio.Event()

        async def call() -> None:
            nonlocal gone_out
            with breaker.acquire() as permit:
                gone_out += 1
                await answer.wait()
                permit.success()

        calls = [asyncio.create_task(call()) for _ in range(50)]
        await asyncio.sleep(0)
        answer.set()
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results[1:]] == [BreakerOpen] * 49
        assert gone_out == 1
        assert breaker.state is State.CLOSED

    @pytest.mark.criterion("B3")
    def test_2_a_late_success_of_an_earlier_state_does_not_close_it(
        self, breaker: CircuitBreaker, clock: Clock
    ) -> None:
        late = [breaker.acquire() for _ in range(3)]
        open_(breaker)
        late[0].success()
        when_open = breaker.state
        clock.advance(RECOVERY)
        late[1].success()
        when_half_open = breaker.state
        report(breaker, "S")
        late[2].failure()
        report(breaker, "FFFF")
        assert when_open is State.OPEN
        assert when_half_open is State.HALF_OPEN
        assert breaker.state is State.CLOSED

    @pytest.mark.criterion("B2", "B3")
    async def test_3_a_cancelled_probe_does_not_close_it(
        self, breaker: CircuitBreaker, clock: Clock
    ) -> None:
        half_open(breaker, clock)

        async def hang() -> None:
            with breaker.acquire():
                await asyncio.Event().wait()

        probe = asyncio.create_task(hang())
        await asyncio.sleep(0)
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe
        assert breaker.state is State.HALF_OPEN
        assert admitted(breaker, 50) == 1

    @pytest.mark.criterion("B2")
    def test_4_a_cancelled_call_does_not_forget_the_failures_before_it(
        self, breaker: CircuitBreaker
    ) -> None:
        report(breaker, "FFFFCF")
        assert breaker.state is State.OPEN

    @pytest.mark.criterion("B2")
    def test_4_and_cancelled_calls_alone_never_open_it(self, breaker: CircuitBreaker) -> None:
        report(breaker, "C" * 100)
        assert breaker.state is State.CLOSED

    @pytest.mark.criterion("B1")
    def test_5_four_failures_in_five_open_it(self, breaker: CircuitBreaker) -> None:
        with pytest.raises(BreakerOpen):
            report(breaker, "FFFFS" * 20)
        assert breaker.state is State.OPEN

    @pytest.mark.criterion("B4")
    def test_6_the_body_of_a_with_block_does_not_run_while_it_is_open(
        self, breaker: CircuitBreaker
    ) -> None:
        open_(breaker)
        ran = False
        with pytest.raises(BreakerOpen), breaker.acquire():
            ran = True
        assert not ran
        assert breaker.state is State.OPEN

    @pytest.mark.criterion("B4", "S2")
    def test_also_its_error_does_not_repeat_the_last_failure(self, breaker: CircuitBreaker) -> None:
        for _ in range(5):
            with pytest.raises(OSError), breaker.acquire() as permit:
                permit.failure()
                raise OSError("postgresql://user:hunter2@database")
        with pytest.raises(BreakerOpen) as refused:
            breaker.acquire()
        assert str(refused.value) == "circuit breaker auth-service is open for another 30.0 s"

    @pytest.mark.parametrize(
        "wrong",
        [{"failure_threshold": 0}, {"recovery_timeout": 0.0}, {"probe_timeout": float("nan")}],
    )
    def test_also_values_without_meaning_are_refused(self, wrong: dict[str, float]) -> None:
        with pytest.raises(ValueError, match="must be"):
            CircuitBreaker("auth-service", **wrong)  # type: ignore[arg-type]

    def test_also_two_of_one_name_are_not_mixed_up(self, clock: Clock) -> None:
        first, second = make(clock), make(clock)
        open_(first)
        assert second.state is State.CLOSED


@pytest.mark.criterion("B2")
class TestPermit:
    def test_an_error_of_the_caller_is_neutral(self, breaker: CircuitBreaker) -> None:
        for _ in range(5):
            with pytest.raises(KeyError), breaker.acquire():
                raise KeyError("a bug of ours")
        assert breaker.state is State.CLOSED

    def test_the_first_verdict_counts(self, breaker: CircuitBreaker) -> None:
        for _ in range(4):
            permit = breaker.acquire()
            permit.failure()
            permit.success()
            permit.failure()
        after_four = breaker.state
        report(breaker, "F")
        assert (after_four, breaker.state) == (State.CLOSED, State.OPEN)


@pytest.mark.criterion("B7")
class TestReporting:
    def test_every_change_is_reported_once_it_holds(self, clock: Clock) -> None:
        seen: list[tuple[State, State]] = []
        watched = make(clock, lambda state: seen.append((state, watched.state)))
        half_open(watched, clock)
        report(watched, "S")
        assert seen == [(s, s) for s in (State.OPEN, State.HALF_OPEN, State.CLOSED)]

    def test_a_listener_that_asks_for_a_permit_cannot_let_two_probes_out(
        self, clock: Clock
    ) -> None:
        taken: list[object] = []

        def grab(state: State) -> None:
            if state is State.HALF_OPEN:
                taken.append(watched.acquire())

        watched = make(clock, grab)
        open_(watched)
        clock.advance(RECOVERY)
        assert admitted(watched, 50) == 0
        assert len(taken) == 1

    def test_a_listener_that_fails_does_not_break_it(
        self, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(state: State) -> None:
            raise RuntimeError(f"cannot show {state}")

        breaker = make(clock, fail)
        half_open(breaker, clock)
        report(breaker, "S")
        assert breaker.state is State.CLOSED
        assert caplog.messages.count("circuit_breaker_listener_failed") == 3

    def test_every_change_is_logged(
        self, breaker: CircuitBreaker, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        half_open(breaker, clock)
        report(breaker, "S")
        lines = [
            (record.levelname, record.__dict__["previous"], record.__dict__["state"])
            for record in caplog.records
            if record.message == "circuit_breaker_changed"
        ]
        assert lines == [
            ("WARNING", "closed", "open"),
            ("INFO", "open", "half_open"),
            ("INFO", "half_open", "closed"),
        ]
        assert {record.__dict__["dependency"] for record in caplog.records} == {"auth-service"}


class TestRollingWindow:
    def test_forgets_bucket_by_bucket(self) -> None:
        window = RollingWindow(seconds=3, buckets=3)
        for second, failed in enumerate([True, False, True, False, False]):
            window.add(float(second), failed=failed)
        assert (window.calls, window.failures) == (3, 1)

    def test_forgets_everything_after_a_long_silence(self) -> None:
        window = RollingWindow(seconds=3, buckets=3)
        window.add(0.0, failed=True)
        window.add(1e6, failed=False)
        assert (window.calls, window.failures) == (1, 0)

    def test_memory_does_not_grow_with_calls(self) -> None:
        window = RollingWindow()
        for call in range(10_000):
            window.add(call / 50, failed=False)
        assert len(window._buckets) == 30
        assert window.calls == pytest.approx(1500, abs=50)
