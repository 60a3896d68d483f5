"""When a failed call may be tried again, and after how long.

Rule B5 of the service contract: only what is idempotent, at most twice, with full jitter, and
within a budget, so that retries cannot multiply the load on a dependency in trouble.
"""

import random
from collections.abc import Callable
from typing import Final

IDEMPOTENT_METHODS: Final = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
MAX_RETRIES: Final = 2
FIRST_DELAY: Final = 0.1
LONGEST_DELAY: Final = 2.0


class RetryBudget:
    """Retries that are allowed now: one for every five first attempts, which is 20 % (B5).

    It starts empty, so a service that has just come up onto a failing dependency adds nothing to
    its load. What can be saved up is bounded, so a long quiet time does not pay for a storm.

    Args:
        calls_per_retry: first attempts that pay for one retry.
        most: retries that can be saved up.
    """

    def __init__(self, calls_per_retry: int = 5, most: int = 10) -> None:
        self._price = calls_per_retry
        self._most = most * calls_per_retry
        self._saved = 0

    def deposit(self) -> None:
        """Count a first attempt."""
        self._saved = min(self._saved + 1, self._most)

    def withdraw(self) -> bool:
        """Pay for one retry; False, and nothing taken, when there is not enough."""
        if self._saved < self._price:
            return False
        self._saved -= self._price
        return True


def retries_for(method: str, wanted: int) -> int:
    """How often a call with this method may be tried again (B5)."""
    return max(0, min(wanted, MAX_RETRIES)) if method in IDEMPOTENT_METHODS else 0


def backoff(retry: int, uniform: Callable[[float, float], float] = random.uniform) -> float:
    """Seconds to wait before a retry: anything from nothing to a bound that doubles (full jitter).

    Args:
        retry: 0 for the first retry.
        uniform: draws a number between two bounds.
    """
    return uniform(0.0, min(LONGEST_DELAY, FIRST_DELAY * 2.0**retry))


def requested_delay(retry_after: str | None) -> float:
    """Seconds that a `Retry-After` header asks for, 0 when there is none.

    Only its form in seconds is read; the services of this contract send no other (E1).
    """
    digits = (retry_after or "").strip()
    return float(digits) if digits.isascii() and digits.isdecimal() else 0.0
