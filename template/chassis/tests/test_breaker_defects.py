"""B1-B4: what version 2.1.3 of the package `circuitbreaker` gets wrong, and this breaker must not.

What the package did instead, case by case, stands in the template's
`docs/decisions/breaker-policy.md`.
"""

import asyncio

import pytest

from chassis.breaker import BreakerOpen, CircuitBreaker, State

RECOVERY = 30.0


class Bench(CircuitBreaker):
    """A breaker whose time passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        super().__init__("auth-service", recovery_timeout=RECOVERY, clock=lambda: self.now)

    def report(self, outcomes: str) -> None:
        """Make one call for each letter: F fails, S succeeds, C is cancelled."""
        for outcome in outcomes:
            permit = self.acquire()
            {"F": permit.failure, "S": permit.success, "C": permit.release}[outcome]()

    def go_half_open(self) -> None:
        self.report("FFFFF")
        self.now += RECOVERY


@pytest.fixture
def breaker() -> Bench:
    return Bench()


@pytest.mark.criterion("B3")
async def test_1_half_open_lets_one_of_50_concurrent_callers_out(breaker: Bench) -> None:
    breaker.go_half_open()
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
def test_2_a_late_success_of_an_earlier_state_does_not_close_it(breaker: Bench) -> None:
    late = [breaker.acquire() for _ in range(3)]
    states = []
    breaker.report("FFFFF")
    late[0].success()
    states.append(breaker.state)
    breaker.now += RECOVERY
    states.append(breaker.state)
    late[1].success()
    states.append(breaker.state)
    breaker.report("S")
    late[2].failure()
    breaker.report("FFFF")
    states.append(breaker.state)
    assert states == [State.OPEN, State.HALF_OPEN, State.HALF_OPEN, State.CLOSED]


@pytest.mark.criterion("B2", "B3")
async def test_3_a_cancelled_probe_does_not_close_it(breaker: Bench) -> None:
    breaker.go_half_open()

    async def hang() -> None:
        with breaker.acquire():
            await asyncio.Event().wait()

    probe = asyncio.create_task(hang())
    await asyncio.sleep(0)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert breaker.state is State.HALF_OPEN
    breaker.acquire()
    with pytest.raises(BreakerOpen):
        breaker.acquire()


@pytest.mark.criterion("B2")
def test_4_a_cancelled_call_does_not_forget_the_failures_before_it(breaker: Bench) -> None:
    breaker.report("FFFFCF")
    assert breaker.state is State.OPEN


@pytest.mark.criterion("B2")
def test_4_and_cancelled_calls_alone_never_open_it(breaker: Bench) -> None:
    breaker.report("C" * 100)
    assert breaker.state is State.CLOSED


@pytest.mark.criterion("B1")
def test_5_four_failures_in_five_open_it(breaker: Bench) -> None:
    with pytest.raises(BreakerOpen):
        breaker.report("FFFFS" * 20)
    assert breaker.state is State.OPEN


@pytest.mark.criterion("B4")
def test_6_the_body_of_a_with_block_does_not_run_while_it_is_open(breaker: Bench) -> None:
    breaker.report("FFFFF")
    ran = False
    with pytest.raises(BreakerOpen), breaker.acquire():
        ran = True
    assert not ran
    assert breaker.state is State.OPEN


@pytest.mark.criterion("B4", "S2")
def test_also_its_error_does_not_repeat_the_last_failure(breaker: Bench) -> None:
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
def test_also_values_without_meaning_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        CircuitBreaker("auth-service", **wrong)  # type: ignore[arg-type]


def test_also_two_of_one_name_are_not_mixed_up() -> None:
    first, second = Bench(), Bench()
    first.report("FFFFF")
    assert second.state is State.CLOSED
