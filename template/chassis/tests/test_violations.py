"""E3: a 422 repeats nothing of what was sent, and what is sent cannot make that dear."""

import time

import pytest

from chassis.redaction import MASK
from chassis.violations import listed, violation

pytestmark = pytest.mark.criterion("E3")

SECRET = "hunter2-of-postgresql"
MEBIBYTE = 1024 * 1024


def message(input: object, text: str) -> str:
    entry = {"loc": ("body",), "type": "value_error", "msg": text, "input": input}
    shown: str = violation(entry)["msg"]
    return shown


@pytest.mark.parametrize(
    "sent",
    [
        {"one": SECRET, "other": [123456, {"deep": 98765.5}]},
        {SECRET: True},
        [[["it's"]], 'a "quote"', "two\nlines", None],
        ("sent", {"as": frozenset({SECRET})}),
    ],
)
def test_a_message_that_repeats_an_object_shows_none_of_its_values(sent: object) -> None:
    shown = message(sent, f"Value error, no good: {sent}")

    assert shown.startswith("Value error, no good: ")
    for part in (SECRET, "123456", "98765", "it's", "quote", "lines", "sent", "True", "None"):
        assert part not in shown


def test_a_message_that_repeats_nothing_stays() -> None:
    sent = {"password": SECRET, "repeated": "other"}
    text = "Value error, password and 'repeated' differ"

    assert message(sent, text) == text


def test_one_that_cannot_be_looked_through_is_masked_as_a_whole() -> None:
    assert message(list(range(20_000)), "Value error, not 19999") == MASK
    assert message([f"{i:01000}" for i in range(1000)], f"Value error, {'x' * 1000}") == MASK


def nested(depth: int, value: object) -> object:
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "meta",
    [
        nested(100, "a" * MEBIBYTE),
        nested(900, "a" * MEBIBYTE),
        nested(100, [nested(50, "a" * 400) for _ in range(2000)]),
        list(range(150_000)),
        {f"{i:x}": i for i in range(80_000)},
        [f"{i:0100}" for i in range(9_000)],
        ["a" * 17 + f"{i:06}" for i in range(9_000)],
        ["a"] * 9_000,
        [{} for _ in range(9_000)],
    ],
    ids=["deep", "deeper", "both", "numbers", "keys", "texts", "short", "one", "empty"],
)
def test_a_mebibyte_of_anything_takes_little_time(meta: object) -> None:
    """Deep ones took 10 s. The loop answers nobody meanwhile."""
    text = "Value error, the name is bad"
    began = time.process_time()

    shown = message({"name": "bad", "meta": meta}, text)

    assert time.process_time() - began < 1
    assert shown in ("Value error, the name is ***", MASK)


def test_of_many_errors_the_first_are_listed() -> None:
    entries = [{"loc": ("body", n), "type": "int_type", "msg": "No number"} for n in range(250)]
    details = listed(entries)

    assert [error["loc"] for error in details["errors"]] == [["body", n] for n in range(100)]
    assert details["errors_left_out"] == 150
    assert "errors_left_out" not in listed(entries[:100])
