"""Circuit breaker: a dependency that keeps failing is left alone for a while.

Rules B1-B3 and B7 of the service contract. Why it is our own stands in the template's
`docs/decisions/breaker-policy.md`.

Everything runs in one event loop and nothing here awaits, so no locks are needed: between two lines
of a method no other call can come in.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from types import TracebackType
from typing import Final, Self

WINDOW_SECONDS: Final = 30.0
MINIMUM_CALLS: Final = 10
FAILURE_RATIO: Final = 0.5

logger = logging.getLogger(__name__)


class State(StrEnum):
    """What a breaker does with a call: lets it out, refuses it, or lets one out as a probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class BreakerOpen(Exception):
    """The call was refused and did not go out.

    Its text names the dependency and a time, never the error that opened the breaker.
    """

    def __init__(self, name: str, retry_after: float) -> None:
        super().__init__(f"circuit breaker {name} is open for another {retry_after:.1f} s")
        self.retry_after = retry_after


class RollingWindow:
    """Calls and failures of the last seconds, summed up in buckets.

    Bounded in memory by the number of buckets and constant in time, however many calls there are.
    Time is rounded to one bucket: with the defaults, a call counts for 29 to 30 seconds.

    Args:
        seconds: length of the window.
        buckets: how many buckets it is cut into.
    """

    def __init__(self, seconds: float = WINDOW_SECONDS, buckets: int = 30) -> None:
        self._width = seconds / buckets
        self._length = buckets
        self._buckets: deque[_Bucket] = deque()
        self.calls = 0
        self.failures = 0

    def add(self, now: float, *, failed: bool) -> None:
        """Count one call that ended at `now`."""
        slot = int(now // self._width)
        self._drop_before(slot - self._length + 1)
        if not self._buckets or self._buckets[-1].slot != slot:
            self._buckets.append(_Bucket(slot))
        bucket = self._buckets[-1]
        bucket.calls += 1
        bucket.failures += failed
        self.calls += 1
        self.failures += failed

    def clear(self) -> None:
        """Forget every call."""
        self._buckets.clear()
        self.calls = self.failures = 0

    def _drop_before(self, slot: int) -> None:
        while self._buckets and self._buckets[0].slot < slot:
            old = self._buckets.popleft()
            self.calls -= old.calls
            self.failures -= old.failures


class _Bucket:
    __slots__ = ("calls", "failures", "slot")

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.calls = 0
        self.failures = 0


class Permit:
    """Leave to make one call. Its holder reports how the call ended, once.

    Used as a context manager it is neutral unless told otherwise: a caller that is cancelled, or
    fails for a reason of its own, says nothing about the dependency (B2).
    """

    __slots__ = ("_breaker", "_generation", "_settled")

    def __init__(self, breaker: "CircuitBreaker", generation: int) -> None:
        self._breaker = breaker
        self._generation = generation
        self._settled = False

    def success(self) -> None:
        """The dependency answered."""
        self._settle(failed=False)

    def failure(self) -> None:
        """The dependency failed."""
        self._settle(failed=True)

    def release(self) -> None:
        """Nothing was learnt; a half-open breaker may try the next caller."""
        self._settle(failed=None)

    def _settle(self, *, failed: bool | None) -> None:
        if not self._settled:
            self._settled = True
            self._breaker._record(self._generation, failed)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


class CircuitBreaker:
    """Decides for one dependency whether a call may go out (B1, B3).

    Closed, it opens after `failure_threshold` failures in a row, or when half of at least
    10 calls in 30 seconds failed. Open, it refuses until `recovery_timeout` is over. Half-open, it
    admits one call at a time: success closes it, failure opens it again.

    Every change of state begins a new generation. Permits carry the generation they were given in,
    and what they report counts only while it lasts, so that a slow answer from before the outage
    cannot close the breaker.

    Args:
        name: the dependency, for logs and errors.
        failure_threshold: failures in a row that open it.
        recovery_timeout: seconds it stays open.
        probe_timeout: seconds after which a half-open call that reported nothing loses its place.
        on_change: told every new state once it holds; its errors are logged and go no further.
        clock: monotonic seconds.

    Raises:
        ValueError: a threshold below 1, or a time that is not above 0.
    """

    def __init__(
        self,
        name: str,
        *,
        failure_threshold: int = 5,
        recovery_timeout: float = 30.0,
        probe_timeout: float = 10.0,
        on_change: Callable[[State], None] = lambda state: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if failure_threshold < 1:
            raise ValueError("failure_threshold must be at least 1")
        if not (recovery_timeout > 0 and probe_timeout > 0):
            raise ValueError("recovery_timeout and probe_timeout must be above 0")
        self.name = name
        self._failure_threshold = failure_threshold
        self._recovery_timeout = recovery_timeout
        self._probe_timeout = probe_timeout
        self._on_change = on_change
        self._clock = clock
        self._state = State.CLOSED
        self._generation = 0
        self._refuse_until = 0.0
        self._failures_in_a_row = 0
        self._window = RollingWindow()

    @property
    def state(self) -> State:
        """The state now; an open breaker whose time is over turns half-open by being looked at."""
        if self._state is State.OPEN and self._clock() >= self._refuse_until:
            self._enter(State.HALF_OPEN)
        return self._state

    @property
    def retry_after(self) -> float:
        """Seconds until a call may be admitted, 0 when one would be admitted now.

        While a half-open call is under way, it is the time after which its place is free at the
        latest.
        """
        if self.state is State.CLOSED:
            return 0.0
        return max(0.0, self._refuse_until - self._clock())

    def acquire(self) -> Permit:
        """Ask for leave to make one call.

        Raises:
            BreakerOpen: the call must not go out.
        """
        wait = self.retry_after
        if wait > 0:
            raise BreakerOpen(self.name, wait)
        if self._state is State.HALF_OPEN:
            # A call that held the place and hangs belongs to an earlier generation from here on.
            self._generation += 1
            self._refuse_until = self._clock() + self._probe_timeout
        return Permit(self, self._generation)

    def _record(self, generation: int, failed: bool | None) -> None:
        if generation != self._generation:
            return
        if self._state is State.HALF_OPEN:
            self._conclude_probe(failed)
        elif failed is not None:
            self._count(failed)

    def _conclude_probe(self, failed: bool | None) -> None:
        if failed is None:
            self._refuse_until = self._clock()
        else:
            self._enter(State.OPEN if failed else State.CLOSED)

    def _count(self, failed: bool) -> None:
        self._failures_in_a_row = self._failures_in_a_row + 1 if failed else 0
        self._window.add(self._clock(), failed=failed)
        if self._failures_in_a_row >= self._failure_threshold or self._too_many_failed():
            self._enter(State.OPEN)

    def _too_many_failed(self) -> bool:
        window = self._window
        return window.calls >= MINIMUM_CALLS and window.failures >= window.calls * FAILURE_RATIO

    def _enter(self, state: State) -> None:
        previous, self._state = self._state, state
        self._generation += 1
        self._failures_in_a_row = 0
        self._window.clear()
        if state is State.OPEN:
            self._refuse_until = self._clock() + self._recovery_timeout
        self._announce(previous, state)

    def _announce(self, previous: State, state: State) -> None:
        logger.log(
            logging.WARNING if state is State.OPEN else logging.INFO,
            "circuit_breaker_changed",
            extra={"dependency": self.name, "state": state.value, "previous": previous.value},
        )
        try:
            self._on_change(state)
        except Exception:
            logger.exception("circuit_breaker_listener_failed", extra={"dependency": self.name})
