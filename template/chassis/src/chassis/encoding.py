"""Writes any Python value as strict JSON: bounded, without secrets, and without ever raising (L6, L7, L8).

`json.dumps` writes `NaN`, which is no JSON, stops at the first object that it does not know, and follows an
object as far as it goes. A log line has to be written whatever is in it.

- Everything is ASCII: newlines, ESC, U+2028 and quotes arrive as escapes and cannot forge a second line.
- `NaN` and the infinities are `null`: log stores that index a field as a number refuse a line with text in it.
- Bytes become text, so that redaction sees them. Lone surrogates, which UTF-8 cannot carry, are spelled out.
- One writer writes one line and stops at its budget: what does not fit is replaced by `...`.
"""

import dataclasses
import enum
import re
import traceback
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from functools import lru_cache
from itertools import chain, islice, repeat
from json.encoder import encode_basestring_ascii
from math import isfinite
from types import TracebackType
from urllib.parse import ParseResult, SplitResult

from chassis.redaction import MASK, MAX_TEXT, conceals, is_pair, is_sensitive, key_name, redact_text

MAX_DEPTH = 8
MAX_NAME = 128
MAX_FIELDS = 24_576
MAX_STACK = 16_384
MARK = "..."
UNPRINTABLE = "<unprintable>"

_SMALLEST_NUMBER, _LARGEST_NUMBER = -(2**63), 2**63 - 1
_LARGEST_PRINTED_BITS = 1024
_LONGEST_NUMBER = 24
_SHORT = 512
_WHOLE_CHARACTERS = re.compile(
    r'"(?:[^\\]|\\[^u]|\\u(?!d[89ab])[0-9a-f]{4}|\\ud[89ab][0-9a-f]{2}\\u[0-9a-f]{4})*+'
)
_MARKED = f'"{MARK}"'
_LEFT_OUT = f',"{MARK}":'


def quote(text: str, limit: int = MAX_TEXT) -> str:
    """Writes a text as a JSON string of at most `limit` characters, quotes and escapes counted."""
    text = text[:limit]
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    encoded = encode_basestring_ascii(text)
    if len(encoded) <= limit:
        return encoded
    kept = _WHOLE_CHARACTERS.match(encoded, 0, limit - len(MARK) - 1)
    return f'{kept[0] if kept else chr(34)}{MARK}"'


def safe_text(value: object) -> str:
    """`str(value)`, whatever its class does."""
    try:
        return str.__str__(value) if isinstance(value, str) else str.__str__(str(value))
    except Exception:
        return UNPRINTABLE


def _member_name(key: str) -> tuple[str, bool]:
    """How a member of this name begins, and whether the name is as plain as almost all are."""
    # Names come from code, but for those in what a client sent: a long one is not kept.
    return (_kept_member_name if len(key) <= MAX_NAME else _made_member_name)(key)


def _made_member_name(key: str) -> tuple[str, bool]:
    quoted = quote(redact_text(key), MAX_NAME)
    return f",{quoted}:", quoted == f'"{key}"' and not is_sensitive(key)


_kept_member_name = lru_cache(maxsize=1024)(_made_member_name)


class JsonWriter:
    """Writes the values of one log line within one budget of characters."""

    __slots__ = ("_left", "_parents")

    def __init__(self, budget: int = MAX_FIELDS) -> None:
        self._left = budget
        self._parents: list[int] = []

    def field(self, key: str, value: object) -> str:
        """The value as JSON, or `"***"` when its key says that it is secret. Never raises."""
        try:
            return f'"{MASK}"' if conceals(key, value) else self._value(value)
        except Exception:
            return f'"{UNPRINTABLE}"'

    def _value(self, value: object) -> str:
        """The value as JSON. The exact types of ordinary records come first and cost the least."""
        if type(value) is str:
            return self.text(value)
        if value is None:
            return "null"
        if type(value) is int and _SMALLEST_NUMBER <= value <= _LARGEST_NUMBER:
            return repr(value)
        if type(value) is float:
            return repr(value) if isfinite(value) else "null"
        return self._other(value)

    def text(self, text: str) -> str:
        """A text as JSON string, without secrets, cut to what the budget has left."""
        encoded = quote(redact_text(text), min(MAX_TEXT, max(self._left, 64)))
        self._left -= len(encoded)
        return encoded

    def _other(self, value: object) -> str:
        if value is True:
            return "true"
        if value is False:
            return "false"
        if isinstance(value, enum.Enum):
            return self._value(value.value)
        if isinstance(value, str):
            return self.text(str.__str__(value))
        if isinstance(value, int):
            return self._integer(int.__int__(value))
        if isinstance(value, float):
            return self._value(float.__float__(value))
        if isinstance(value, bytes | bytearray | memoryview):
            return self.text(bytes(value[: MAX_TEXT + 1]).decode("utf-8", "backslashreplace"))
        if isinstance(value, datetime | date | time):
            return self.text(value.isoformat())
        if isinstance(value, BaseException):
            return self.text(f"{type(value).__name__}: {safe_text(value)}")
        if isinstance(value, type):
            return self.text(value.__name__)
        return self._container(value)

    def _integer(self, value: int) -> str:
        if _SMALLEST_NUMBER <= value <= _LARGEST_NUMBER:
            return repr(value)
        bits = (
            value.bit_length()
        )  # decimal digits of a huge number take quadratic time, and Python refuses them
        return f'"{value}"' if bits <= _LARGEST_PRINTED_BITS else f'"<integer of {bits} bits>"'

    def _container(self, value: object) -> str:
        if id(value) in self._parents:
            return '"<cycle>"'
        if len(self._parents) >= MAX_DEPTH:
            return _MARKED
        self._parents.append(id(value))
        try:
            if isinstance(value, Mapping):
                return self.mapping(value.items())
            if dataclasses.is_dataclass(value):
                shown = [field.name for field in dataclasses.fields(value) if field.repr]
                return self.mapping((name, getattr(value, name, UNPRINTABLE)) for name in shown)
            if isinstance(value, SplitResult | ParseResult):
                return self.text(value.geturl())
            if isinstance(value, tuple) and (names := getattr(value, "_fields", ())):
                return self._array(value, names)
            if is_pair(value):
                return f'[{quote(key_name(value[0]), MAX_NAME)},"{MASK}"]'  # type: ignore[index]
            if isinstance(value, list | tuple | set | frozenset | deque):
                return self._array(value)
        finally:
            self._parents.pop()
        return self.text(safe_text(value))

    def mapping(self, items: Iterable[tuple[object, object]]) -> str:
        """Pairs as a JSON object."""
        return "{" + self.members(items)[1:] + "}"

    def members(self, items: Iterable[tuple[object, object]]) -> str:
        """Pairs as `,"name":value`. Never raises but for its iterator.

        Numbers and short texts under plain names, most of what is logged, are written right here: calling functions was
        half of this loop's time.
        """
        parts: list[str] = []
        add = parts.append
        is_plain = True
        for key, value in items:
            text = key if type(key) is str else safe_text(key_name(key))
            name, is_name_plain = _member_name(text)
            if not is_name_plain or text is not key:
                is_plain = False
                encoded = self.field(text, value)
            elif type(value) is str and value.isascii() and len(value) < _SHORT:
                encoded = encode_basestring_ascii(redact_text(value))
                self._left -= len(encoded)
            elif type(value) is int and _SMALLEST_NUMBER <= value <= _LARGEST_NUMBER:
                encoded = repr(value)
            else:
                encoded = self.field(text, value)
            add(name)
            add(encoded)
            self._left -= len(name) + _LONGEST_NUMBER
            if self._left <= 0:
                add(_LEFT_OUT)
                add(_MARKED)
                break
        if not is_plain:  # two odd names may have become one, and a log store refuses the line then: the last counts
            unique = dict(zip(parts[::2], parts[1::2], strict=True))
            return "".join([name + encoded for name, encoded in unique.items()])
        return "".join(parts)

    def _array(self, items: Iterable[object], names: Iterable[str] = ()) -> str:
        """Values as a JSON array; those of a named tuple know by which names."""
        members: list[str] = []
        for name, item in zip(chain(names, repeat("")), items, strict=False):
            members.append(self.field(name, item))
            self._left -= _LONGEST_NUMBER
            if self._left <= 0:
                members.append(_MARKED)
                break
        return "[" + ",".join(members) + "]"


def exception_as_json(error: BaseException, trace: TracebackType | None) -> str:
    """An exception as one JSON object of `type`, `message` and `stacktrace`, causes and groups included (L5)."""
    return _exception(type_name(error), safe_text(error), stack_of(error, trace))


def type_name(error: BaseException) -> str:
    """The name of an exception's class, with its module unless that is Python itself."""
    kind = type(error)
    builtin = kind.__module__ == "builtins"
    return kind.__qualname__ if builtin else f"{kind.__module__}.{kind.__qualname__}"


def traceback_as_json(stack: str) -> str:
    """The same of an exception that only its traceback's text is left of: the last line names it."""
    name, _, message = stack.rstrip().rpartition("\n")[2].partition(": ")
    return _exception(name, message, shorten(redact_text(stack, MAX_STACK)))


def stack_as_json(stack: str) -> str:
    """A call stack as a JSON string."""
    return quote(shorten(redact_text(stack, MAX_STACK), MAX_TEXT * 3 // 4))


def _exception(name: str, message: str, stack: str) -> str:
    written = JsonWriter().text(message)
    named, traced = quote(name, MAX_NAME), quote(stack, MAX_STACK)
    return f'{{"type":{named},"message":{written},"stacktrace":{traced}}}'


def stack_of(error: BaseException, trace: TracebackType | None) -> str:
    """The traceback as Python prints it, without secrets, its middle left out when it is too long."""
    try:
        lines = traceback.TracebackException(type(error), error, trace, compact=True).format()
        return shorten(
            "\n".join([redact_text(line.removesuffix("\n")) for line in islice(lines, 5000)])
        )
    except Exception:
        return UNPRINTABLE


def shorten(stack: str, limit: int = MAX_STACK * 3 // 4) -> str:
    """Leaves out the middle: the outermost calls say where it came from, the innermost what broke."""
    if len(stack) <= limit:
        return stack
    head, tail = stack[: limit // 4], stack[-3 * limit // 4 :]
    return f"{head}\n{MARK} [{len(stack) - len(head) - len(tail)} characters left out]\n{tail}"
