"""What a 422 says of a value that was refused: where and why, and nothing of the value itself (E3)."""

from collections.abc import Mapping, Sequence
from typing import Any

from chassis.redaction import MASK

# A body of 1 MiB may be wrong in a quarter of a million places, for an answer of 33 MB.
_MOST_LISTED = 100
_LONGEST_LOCATION = 100
# Messages of these kinds may repeat what was sent: `int("hunter2")` in a validator does.
_REPEATS_INPUT = frozenset({"value_error", "assertion_error", "union_tag_invalid"})
_SHORTEST_MASKED = 3
# More would hold up all other requests for more than 0.1 s: the message is masked as a whole.
_MOST_VALUES = 10_000
_MOST_COMPARISONS = 100_000_000


def listed(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the first of pydantic's errors as `details`, and how many more there are."""
    left_out = len(entries) - _MOST_LISTED
    more = {"errors_left_out": left_out} if left_out > 0 else {}
    return {"errors": [violation(entry) for entry in entries[:_MOST_LISTED]], **more}


def violation(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the caller may know of one of pydantic's errors."""
    # `input` echoes what was sent, passwords included, and `ctx` may hold what no encoder takes.
    kind, message = entry["type"], entry["msg"]
    if kind in _REPEATS_INPUT:
        message = _masked(message, entry.get("ctx", {}).get("tag", entry.get("input")))
    return {
        "loc": [p[:_LONGEST_LOCATION] if isinstance(p, str) else p for p in entry["loc"]],
        "type": kind,
        "msg": message,
    }


def _masked(message: str, sent: object) -> str:
    texts = _texts(sent, len(message))
    if texts is None or len(message) * sum(map(len, texts)) > _MOST_COMPARISONS:
        return MASK
    for text in sorted((t for t in texts if t in message), key=len, reverse=True):
        message = message.replace(text, MASK)
    return message


def _texts(sent: object, longest: int) -> set[str] | None:
    """The values in `sent` as a message of this length may repeat them, or None if they are too many.

    An object or a list in a message is masked by its values, and by its keys as it shows them: its
    own text for every one, nested a hundred deep, would have each value a hundred times.
    """
    values = [sent]
    texts: set[str] = set()
    for value in values:
        if isinstance(value, Mapping | list | tuple | set | frozenset):
            if len(values) + len(value) > _MOST_VALUES:
                return None
            if isinstance(value, Mapping):
                texts.update(f"{key!r}:" for key in value)
                values += value.values()
            else:
                values += value
        elif not isinstance(value, str) or len(value) <= longest:
            texts |= {str(value), repr(value)}
    return {text for text in texts if _SHORTEST_MASKED <= len(text) <= longest}
