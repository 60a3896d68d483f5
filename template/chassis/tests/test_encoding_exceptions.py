"""L5: an exception becomes one bounded object with its causes, and never a second failure."""

import json

import pytest

from chassis.encoding import MAX_STACK, exception_as_json, stack_as_json, traceback_as_json


class Unhappy(Exception):
    pass


class Raises:
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


def described(error: BaseException) -> dict[str, str]:
    value = json.loads(exception_as_json(error, error.__traceback__))
    assert isinstance(value, dict)
    assert set(value) == {"type", "message", "stacktrace"}
    return value


def test_an_exception_keeps_its_causes_and_its_place() -> None:
    """L5."""
    try:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise Unhappy("second") from error
    except Unhappy as error:
        error.add_note("a note")
        facts = described(error)
    assert facts["type"] == f"{__name__}.Unhappy"
    assert facts["message"] == "second"
    for part in (
        "KeyError: 'first'",
        "direct cause",
        "Unhappy: second",
        "a note",
        "test_encoding_exceptions.py",
    ):
        assert part in facts["stacktrace"]


def test_an_exception_group_shows_its_members() -> None:
    """L5."""
    facts = described(
        raised(ExceptionGroup("several", [raised(ValueError("one")), KeyError("two")]))
    )
    assert facts["type"] == "ExceptionGroup"
    assert "ValueError: one" in facts["stacktrace"] and "KeyError: 'two'" in facts["stacktrace"]


def test_exceptions_are_bounded_and_keep_both_ends() -> None:
    """L5: what came first says where from, what came last what broke."""

    def even(depth: int) -> None:
        odd(depth - 1)

    def odd(depth: int) -> None:
        if depth < 0:
            raise ValueError("bottom " + "x" * 1_000_000)
        even(depth)

    try:
        even(300)
    except ValueError as error:
        encoded = exception_as_json(error, error.__traceback__)
    json.loads(encoded)
    assert len(encoded) < MAX_STACK + 9000
    stack = described(raised(ValueError("end")))["stacktrace"]
    assert stack.startswith("Traceback") and stack.endswith("ValueError: end")
    long = traceback_as_json("Traceback first\n" + "middle\n" * 9000 + "ValueError: end")
    assert "Traceback first" in long


def test_a_long_traceback_loses_its_middle() -> None:
    chain: Exception = ValueError("outermost")
    for number in range(200):
        cause, chain = chain, ValueError(f"error {number}")
        chain.__cause__ = cause
    stack = described(raised(chain))["stacktrace"]
    assert stack.startswith("ValueError: outermost")
    assert "characters left out" in stack
    assert stack.endswith("ValueError: error 199")


def test_exceptions_hold_no_secrets() -> None:
    """L7: not in the message, not in the source lines of the traceback."""
    try:
        password = "hunter2"
        raise ValueError(f"cannot connect to redis://:{password}@cache, password={password}")
    except ValueError as error:
        assert "hunter2" not in exception_as_json(error, error.__traceback__)
    assert "hunter2" not in stack_as_json("File x\n    connect(password='hunter2')")
    assert "hunter2" not in traceback_as_json("Traceback\nValueError: password=hunter2")


@pytest.mark.parametrize(
    "error", [Unhappy(Raises()), Unhappy("\ud800\u2028"), KeyError(), RecursionError()]
)
def test_odd_exceptions_are_described_all_the_same(error: Exception) -> None:
    assert described(raised(error))["type"]
