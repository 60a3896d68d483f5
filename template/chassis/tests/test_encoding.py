"""L6 and L8: any value becomes strict JSON of bounded size, and nothing raises."""

import dataclasses
import enum
import json
import time
from collections import OrderedDict, deque, namedtuple
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from types import SimpleNamespace
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pythonjsonlogger.json import JsonEncoder

from chassis.encoding import (
    MAX_FIELDS,
    UNPRINTABLE,
    JsonWriter,
    quote,
    safe_text,
)


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    assert len({name for name, _ in pairs}) == len(pairs), "a name comes twice"
    return dict(pairs)


def strict(text: str) -> object:
    """Parse as the strictest reader: one line of ASCII, no NaN, no name twice, nothing that UTF-8 cannot carry."""
    assert text.isascii() and text.isprintable()
    value = json.loads(text, parse_constant=refuse, object_pairs_hook=unique)
    json.dumps(value, ensure_ascii=False).encode()
    return value


def written(value: object) -> object:
    return strict(JsonWriter().field("", value))


class Colour(enum.Enum):
    RED = "red"


class Flag(enum.IntEnum):
    UP = 7


@dataclasses.dataclass
class Account:
    name: str
    password: str
    nickname: str = dataclasses.field(default="hunter2", repr=False)


Point = namedtuple("Point", "x y")
Login = namedtuple("Login", "name password")


class Str(str):
    def __str__(self) -> str:
        return "lie"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (7, 7),
        (-1.5, -1.5),
        ("a", "a"),
        (float("nan"), None),
        (float("-inf"), None),
        (2**63 - 1, 2**63 - 1),
        (2**63, str(2**63)),
        (Colour.RED, "red"),
        (Flag.UP, 7),
        (Decimal("1.10"), "1.10"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (b"a\xff", "a\\xff"),
        (bytearray(b"a"), "a"),
        (memoryview(b"a"), "a"),
        (Str("truth"), "truth"),
        (ValueError("no"), "ValueError: no"),
        (ValueError, "ValueError"),
        ((1, [2, {3}]), [1, [2, [3]]]),
        (deque([1]), [1]),
        (frozenset(), []),
        (Point(1, 2), [1, 2]),
        (Login("bob", "hunter2"), ["bob", "***"]),
        (urlsplit("postgresql://bob:hunter2@db/x"), "postgresql://***@db/x"),
        (OrderedDict(a=1), {"a": 1}),
        (
            {1: "a", None: "b", b"c": "c", (1, 2): "d"},
            {"1": "a", "None": "b", "c": "c", "(1, 2)": "d"},
        ),
        (Account("ann", "hunter2"), {"name": "ann", "password": "***"}),
        (SimpleNamespace(a=1), "namespace(a=1)"),
        ("\ud800", "\\ud800"),
        ("\U0001f600\u2028\x1b\n", "\U0001f600\u2028\x1b\n"),
    ],
)
def test_every_type_has_a_meaning(value: object, expected: object) -> None:
    """L8."""
    assert written(value) == expected
    assert written([value]) == [expected]
    assert strict(JsonWriter().mapping([("field", value)])) == {"field": expected}


def test_a_number_too_long_to_print_is_measured() -> None:
    """L8: Python refuses to print more than 4300 digits."""
    assert written(2**20_000) == "<integer of 20001 bits>"


def test_odd_names_that_become_one_are_written_once() -> None:
    """A log store refuses a line that has a name twice."""
    assert written({"1": "a", 1: "b"}) == {"1": "b"}
    assert written({1: "b", "1": "a"}) == {"1": "a"}
    assert len(strict(JsonWriter().field("", {"k" * 200 + "a": 1, "k" * 200 + "b": 2}))) == 1  # type: ignore[arg-type]


class Raises:
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


class Treacherous(Mapping[str, object]):
    def __getitem__(self, key: str) -> object:
        raise RuntimeError("no")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("no")

    def __len__(self) -> int:
        return 1


class Endless(Mapping[str, object]):
    def __getitem__(self, key: str) -> object:
        return key

    def __iter__(self) -> Iterator[str]:
        number = 0
        while True:
            yield f"k{number}"
            number += 1

    def __len__(self) -> int:
        return 1


class Disguised:
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "make",
    [Raises, Treacherous, Disguised, lambda: {Raises(): Raises()}, lambda: ValueError(Raises())],
)
def test_values_that_raise_leave_a_placeholder(make: Callable[[], object]) -> None:
    """L8: the fields beside it are written."""
    line = JsonWriter().mapping([("before", 1), ("odd", make()), ("after", 2)])
    fields = strict(line)
    assert isinstance(fields, dict)
    assert (fields["before"], fields["after"]) == (1, 2)
    assert UNPRINTABLE in str(fields["odd"])


def test_cycles_depth_and_size_are_bounded() -> None:
    """L6, L8."""
    cycle: dict[str, object] = {}
    cycle["self"] = [cycle]
    assert written(cycle) == {"self": ["<cycle>"]}
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    assert "..." in str(written(deep))
    laughs: list[object] = ["ha"]
    for _ in range(30):
        laughs = [laughs, laughs, laughs]
    for value in (
        laughs,
        Endless(),
        ["x" * 1000] * 1000,
        {"k" * n: n for n in range(900)},
        range(10**9),
    ):
        line = JsonWriter().mapping([("big", value)])
        strict(line)
        assert len(line) < MAX_FIELDS + 1000
    assert written([1, 1]) == [1, 1]
    shared = ["a"]
    assert written([shared, shared]) == [["a"], ["a"]]


@pytest.mark.parametrize(
    "text", ["x", "é", "\U0001f600", "\x00", '"', "\ud800", "\U0001f600" * 200 + "x" * 999]
)
@pytest.mark.parametrize("limit", [64, 100, 8192])
def test_strings_are_bounded_with_their_escapes(text: str, limit: int) -> None:
    """L6: one character may take twelve."""
    encoded = quote(text * 100_000, limit)
    assert len(encoded) <= limit
    assert str(strict(encoded)).endswith("...")


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.decimals()
    | st.uuids()
    | st.datetimes()
    | st.sampled_from([Raises, Treacherous]).map(lambda kind: kind())
    | st.sampled_from([Colour.RED, object(), ValueError("x"), 2**100]),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(st.characters()) | st.integers() | st.binary() | st.none(), inner)
    ),
)


@settings(deadline=None)
@given(anything)
def test_any_value_is_strict_json(value: object) -> None:
    """L6, L8."""
    written(value)
    strict(JsonWriter().mapping([("field", value)]))


ordinary = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "a", "two words", "é", "\n\x1b\u2028", "/items/1?page=2", "한글"])
    | st.dates()
    | st.datetimes()
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.just(Colour.RED),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "é", ""]), inner)
    ),
    max_leaves=10,
)


@settings(deadline=None)
@given(ordinary)
def test_ordinary_values_mean_what_python_json_logger_makes_of_them(value: object) -> None:
    """The library is the oracle for everything that needs no correction."""
    assert written({"field": value}) == json.loads(json.dumps({"field": value}, cls=JsonEncoder))


def test_text_of_anything() -> None:
    assert safe_text(Raises()) == UNPRINTABLE
    assert type(safe_text(Str("x"))) is str


def test_hostile_values_take_bounded_time() -> None:
    """L6."""
    hostile = {"a": ["://a:" * 200_000] * 100, "b": {f"password{n}": "x" for n in range(10_000)}}
    started = time.process_time()
    strict(JsonWriter().mapping(hostile.items()))
    assert time.process_time() - started < 0.5
