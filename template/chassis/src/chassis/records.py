"""What both log formats read from a record: its level by one of five names, and the caller's own fields."""

import logging
from collections.abc import Mapping

from pythonjsonlogger.core import RESERVED_ATTRS

from chassis.redaction import key_name

LEVELS = {50: "CRITICAL", 40: "ERROR", 30: "WARNING", 20: "INFO", 10: "DEBUG"}
STANDARD_FIELDS = frozenset(
    {
        *("timestamp", "level", "logger", "message", "service", "version", "environment"),
        *("trace_id", "span_id", "stack_info", "exception"),
    }
)
# `taskName` came with Python 3.12; `color_message` is uvicorn's second copy of the message, with terminal codes.
NOT_EXTRAS = frozenset((*RESERVED_ATTRS, "taskName", "color_message"))


def level_name(number: int) -> str:
    """One of the contract's five names; a custom level counts as the nearest lower one."""
    return LEVELS.get(number) or next(
        (LEVELS[least] for least in LEVELS if number >= least), "DEBUG"
    )


def extras(record: logging.LogRecord, more: Mapping[str, object]) -> dict[str, object]:
    """The caller's fields: those of a message that is a mapping, then those of `extra=`.

    A name that belongs to a standard field gets the prefix `extra_`, so that nothing can replace it.
    """
    given = {key: value for key, value in record.__dict__.items() if key not in NOT_EXTRAS}
    if more:
        named = {k if type(k) is str else key_name(k): v for k, v in more.items()}
        given = {**named, **given}
    if not STANDARD_FIELDS.isdisjoint(given):
        given = {_free_name(key, given): value for key, value in given.items()}
    return given


def _free_name(key: str, taken: Mapping[str, object]) -> str:
    if key in STANDARD_FIELDS:
        key = f"extra_{key}"
        while key in taken:
            key = f"extra_{key}"
    return key
