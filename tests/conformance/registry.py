"""Checks, their verdicts, and the registry that holds them."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conformance.bench import Bench

CheckFunction = Callable[["Bench"], Awaitable[str]]


class Verdict(StrEnum):
    """What one check, or all checks of one criterion together, came to."""

    PASS = "pass"
    FAIL = "fail"
    ERROR = "error"
    NOT_APPLICABLE = "not applicable"
    WHITE_BOX = "white box"


class FailedError(AssertionError):
    """The service was seen to break the criterion."""


class NotApplicableError(Exception):
    """The criterion cannot be judged on this service or this machine; the text says why."""


@dataclass(frozen=True, slots=True)
class Check:
    """One observation of one criterion.

    `needs` names the capabilities that a service description must have. `own` marks a check that starts
    instances of its own, so that it can run beside those that share one. `alone` keeps a check that measures
    time or load from running beside any other. `last` puts it after all others, so that it also judges what
    they left behind.
    """

    criterion: str
    title: str
    run: CheckFunction
    needs: frozenset[str]
    own: bool
    alone: bool
    last: bool
    within: float

    @property
    def name(self) -> str:
        """Return the function's name: unique, and usable with `--only`."""
        return self.run.__name__


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of one check: the verdict, what was measured, and the service's last output when it helps."""

    check: Check
    verdict: Verdict
    measured: str
    seconds: float = 0.0
    output: tuple[str, ...] = field(default=())


_CHECKS: list[Check] = []


def check(
    criterion: str,
    title: str,
    *,
    needs: Iterable[str] = ("http",),
    own: bool = False,
    alone: bool = False,
    last: bool = False,
    within: float = 60.0,
) -> Callable[[CheckFunction], CheckFunction]:
    """Register an async function as a check of a criterion.

    The function gets the bench, raises `FailedError` (most easily by `expect`) when the service breaks the criterion,
    and returns one line that says what was measured.
    """

    def register(function: CheckFunction) -> CheckFunction:
        _CHECKS.append(
            Check(criterion, title, function, frozenset(needs), own, alone, last, within)
        )
        return function

    return register


def all_checks() -> tuple[Check, ...]:
    """Return every registered check, importing the modules that register them."""
    import conformance.checks  # noqa: F401  (registers)

    return tuple(_CHECKS)


def expect(condition: object, message: str) -> None:
    """Fail the running check with the message unless the condition holds."""
    if not condition:
        raise FailedError(message)


def expect_all(problems: Iterable[str], heading: str = "") -> None:
    """Fail the running check with every problem, first ones first, so that one run shows all of them."""
    found = list(dict.fromkeys(problems))
    if found:
        shown = "; ".join(found[:8]) + (f"; and {len(found) - 8} more" if len(found) > 8 else "")
        raise FailedError(f"{heading}: {shown}" if heading else shown)
