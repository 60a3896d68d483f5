"""B5: what may be tried again, how often, and after how long."""

import pytest

from chassis.retry import (
    FIRST_DELAY,
    LONGEST_DELAY,
    RetryBudget,
    backoff,
    requested_delay,
    retries_for,
)

pytestmark = pytest.mark.criterion("B5")


class TestRetryBudget:
    def test_starts_empty(self) -> None:
        assert not RetryBudget().withdraw()

    def test_five_first_attempts_pay_for_one_retry(self) -> None:
        budget = RetryBudget()
        for _ in range(4):
            budget.deposit()
        assert not budget.withdraw()
        budget.deposit()
        assert budget.withdraw()
        assert not budget.withdraw()

    def test_allows_20_percent_in_the_long_run(self) -> None:
        budget = RetryBudget()
        retries = 0
        for _ in range(1000):
            budget.deposit()
            retries += budget.withdraw()
        assert retries == 200

    def test_saves_up_no_more_than_its_bound(self) -> None:
        budget = RetryBudget(most=10)
        for _ in range(1000):
            budget.deposit()
        assert [budget.withdraw() for _ in range(11)] == [True] * 10 + [False]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_idempotent_methods_are_tried_again_twice_at_most(method: str) -> None:
    assert [retries_for(method, wanted) for wanted in (-1, 0, 1, 2, 3)] == [0, 0, 1, 2, 2]


@pytest.mark.parametrize("method", ["POST", "PATCH", "CONNECT", "PROPPATCH"])
def test_other_methods_are_not_tried_again(method: str) -> None:
    assert retries_for(method, 2) == 0


def test_backoff_is_full_jitter_below_a_bound_that_doubles() -> None:
    bounds: list[tuple[float, float]] = []

    def highest(low: float, high: float) -> float:
        bounds.append((low, high))
        return high

    waits = [backoff(retry, highest) for retry in range(8)]
    assert waits[:3] == [FIRST_DELAY, FIRST_DELAY * 2, FIRST_DELAY * 4]
    assert max(waits) == LONGEST_DELAY
    assert {low for low, _ in bounds} == {0.0}


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("1", 1),
        (" 30 ", 30),
        ("", 0),
        ("-5", 0),
        ("1.5", 0),
        ("²", 0),
        ("inf", 0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 0),
    ],
)
def test_retry_after_is_read_in_seconds(header: str | None, seconds: float) -> None:
    assert requested_delay(header) == seconds
