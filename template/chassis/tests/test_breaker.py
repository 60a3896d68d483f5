"""B1-B3 and B7: when a breaker lets calls out, and how it tells of its state."""

import logging
from collections.abc import Callable
from contextlib import suppress

import pytest

from chassis.breaker import BreakerOpen, CircuitBreaker, RollingWindow, State

RECOVERY = 30.0
PROBE = 6.0


class Bench(CircuitBreaker):
    """A breaker whose time passes when a test says so, and a record of its changes."""

    def __init__(
        self, on_change: Callable[[State], None] | None = None, recovery: float = RECOVERY
    ) -> None:
        self.now = 1000.0
        self.changes: list[State] = []
        super().__init__(
            "auth-service",
            failure_threshold=5,
            recovery_timeout=recovery,
            probe_timeout=PROBE,
            on_change=on_change or self.changes.append,
            clock=lambda: self.now,
        )

    def report(self, outcomes: str) -> None:
        """Make one call for each letter: F fails, S succeeds, C is cancelled."""
        for outcome in outcomes:
            permit = self.acquire()
            {"F": permit.failure, "S": permit.success, "C": permit.release}[outcome]()

    def go_open(self) -> None:
        self.report("FFFFF")
        assert self.state is State.OPEN

    def go_half_open(self) -> None:
        self.go_open()
        self.now += RECOVERY
        assert self.state == State.HALF_OPEN

    def admitted(self, callers: int = 50) -> int:
        """How many of some callers get a permit now."""
        count = 0
        for _ in range(callers):
            with suppress(BreakerOpen):
                self.acquire()
                count += 1
        return count


@pytest.fixture
def breaker() -> Bench:
    return Bench()


@pytest.mark.criterion("B1")
class TestOpening:
    def test_stays_closed_below_the_threshold(self, breaker: Bench) -> None:
        breaker.report("FFFF")
        assert breaker.state is State.CLOSED
        assert breaker.retry_after == 0

    def test_opens_after_five_failures_in_a_row(self, breaker: Bench) -> None:
        breaker.report("FFFFF")
        assert breaker.state is State.OPEN

    def test_a_success_ends_the_row(self, breaker: Bench) -> None:
        breaker.report("FFFFSFFFF")
        assert breaker.state is State.CLOSED

    def test_opens_when_half_of_ten_calls_failed(self, breaker: Bench) -> None:
        breaker.report("SFSFSFSFS")
        after_nine = breaker.state
        breaker.report("F")
        assert (after_nine, breaker.state) == (State.CLOSED, State.OPEN)

    def test_the_call_that_makes_it_ten_may_itself_have_succeeded(self, breaker: Bench) -> None:
        breaker.report("FSFSFSFSFS")
        assert breaker.state is State.OPEN

    def test_stays_closed_when_less_than_half_failed(self, breaker: Bench) -> None:
        breaker.report("SSFFSFSFSS" * 20)
        assert breaker.state is State.CLOSED

    def test_calls_older_than_30_seconds_do_not_count(self, breaker: Bench) -> None:
        breaker.report("SFSFSFSFS")
        breaker.now += 30
        breaker.report("FS")
        assert breaker.state is State.CLOSED

    def test_calls_of_the_last_29_seconds_count(self, breaker: Bench) -> None:
        for outcome in "SFSFSFSFSF":
            breaker.report(outcome)
            breaker.now += 3
        assert breaker.state is State.OPEN

    def test_stays_open_for_the_recovery_timeout(self, breaker: Bench) -> None:
        breaker.go_open()
        breaker.now += RECOVERY - 0.001
        assert breaker.state is State.OPEN
        assert breaker.admitted() == 0

    def test_is_half_open_after_it_without_any_call(self, breaker: Bench) -> None:
        breaker.go_open()
        breaker.now += RECOVERY
        assert breaker.state is State.HALF_OPEN
        assert breaker.changes == [State.OPEN, State.HALF_OPEN]

    def test_after_closing_it_remembers_nothing(self) -> None:
        breaker = Bench(recovery=1)
        breaker.report("SSSSFFFFF")
        breaker.now += 1
        breaker.report("SFFFF")
        assert breaker.state is State.CLOSED

    def test_a_refusal_says_when_to_come_back(self, breaker: Bench) -> None:
        breaker.go_open()
        breaker.now += 10
        with pytest.raises(BreakerOpen) as refused:
            breaker.acquire()
        assert refused.value.retry_after == pytest.approx(RECOVERY - 10)


@pytest.mark.criterion("B3")
class TestHalfOpen:
    def test_a_success_closes_it(self, breaker: Bench) -> None:
        breaker.go_half_open()
        breaker.report("S")
        assert breaker.state is State.CLOSED

    def test_one_failure_opens_it_for_the_whole_timeout_again(self, breaker: Bench) -> None:
        breaker.go_half_open()
        breaker.report("F")
        breaker.now += RECOVERY - 0.001
        assert breaker.state is State.OPEN

    def test_the_next_caller_may_try_after_a_probe_that_was_cancelled(self, breaker: Bench) -> None:
        breaker.go_half_open()
        breaker.report("C")
        assert breaker.state is State.HALF_OPEN
        assert breaker.admitted() == 1

    def test_a_hung_probe_loses_its_place(self, breaker: Bench) -> None:
        breaker.go_half_open()
        breaker.acquire()
        breaker.now += PROBE - 0.001
        assert breaker.admitted() == 0
        breaker.now += 0.001
        assert breaker.admitted() == 1

    @pytest.mark.parametrize("verdict", ["success", "failure", "release"])
    def test_what_a_hung_probe_reports_in_the_end_is_ignored(
        self, breaker: Bench, verdict: str
    ) -> None:
        breaker.go_half_open()
        hung = breaker.acquire()
        breaker.now += PROBE
        breaker.acquire()
        getattr(hung, verdict)()
        assert breaker.state is State.HALF_OPEN
        assert breaker.admitted() == 0

    def test_a_refused_caller_waits_for_the_probe_at_most(self, breaker: Bench) -> None:
        breaker.go_half_open()
        breaker.acquire()
        with pytest.raises(BreakerOpen) as refused:
            breaker.acquire()
        assert refused.value.retry_after == pytest.approx(PROBE)


@pytest.mark.criterion("B2")
class TestPermit:
    def test_an_error_of_the_caller_is_neutral(self, breaker: Bench) -> None:
        for _ in range(5):
            with pytest.raises(KeyError), breaker.acquire():
                raise KeyError("a bug of ours")
        assert breaker.state is State.CLOSED

    def test_the_first_verdict_counts(self, breaker: Bench) -> None:
        for _ in range(4):
            permit = breaker.acquire()
            permit.failure()
            permit.success()
            permit.failure()
        after_four = breaker.state
        breaker.report("F")
        assert (after_four, breaker.state) == (State.CLOSED, State.OPEN)


@pytest.mark.criterion("B7")
class TestReporting:
    def test_every_change_is_reported_once_it_holds(self) -> None:
        seen: list[tuple[State, State]] = []
        watched = Bench(lambda state: seen.append((state, watched.state)))
        watched.go_half_open()
        watched.report("S")
        assert seen == [(s, s) for s in (State.OPEN, State.HALF_OPEN, State.CLOSED)]

    def test_a_listener_that_asks_for_a_permit_cannot_let_two_probes_out(self) -> None:
        taken: list[object] = []

        def grab(state: State) -> None:
            if state is State.HALF_OPEN:
                taken.append(watched.acquire())

        watched = Bench(grab)
        watched.go_open()
        watched.now += RECOVERY
        assert watched.admitted() == 0
        assert len(taken) == 1

    def test_a_listener_that_fails_does_not_break_it(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(state: State) -> None:
            raise RuntimeError(f"cannot show {state}")

        breaker = Bench(fail)
        breaker.go_half_open()
        breaker.report("S")
        assert breaker.state is State.CLOSED
        assert caplog.messages.count("circuit_breaker_listener_failed") == 3

    def test_every_change_is_logged(self, breaker: Bench, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        breaker.go_half_open()
        breaker.report("S")
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
        window = RollingWindow(seconds=6, buckets=3)
        for second, failed in enumerate([True, False, True, False, False, True, True]):
            window.add(float(second), failed=failed)
        assert (window.calls, window.failures) == (5, 3)

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
