"""The log for people (`LOG_FORMAT=console`): one readable line, with the same secrets hidden as in JSON."""

import logging
import re
import time

from opentelemetry import trace

from chassis.encoding import MAX_STACK, JsonWriter, safe_text, shorten, stack_of
from chassis.records import extras, level_name
from chassis.redaction import conceals, redact_text

_NEEDS_QUOTES = re.compile(r'[\s="]|^$')


class ConsoleFormatter(logging.Formatter):
    """`12:00:00.000 INFO     app.items  item_created  item_id=7  trace=4bf92f35`, tracebacks indented below.

    Control characters are spelled out and every further line is indented, so that no value can pass for a line.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Never raises, as the JSON formatter."""
        try:
            message = record.getMessage()
        except Exception:
            message = f"{safe_text(record.msg)} {safe_text(record.args)}"
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        clock = f"{clock}.{int(record.created % 1 * 1000):03d}"
        parts = [
            f"{clock} {level_name(record.levelno):8} {record.name}",
            redact_text(message),
            *(f"{key}={_shown(str(key), value)}" for key, value in extras(record, {}).items()),
        ]
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            parts.append(f"trace={span.trace_id:032x}"[:14])
        below = [shorten(redact_text(record.stack_info, MAX_STACK))] if record.stack_info else []
        if record.exc_info and record.exc_info[1]:
            below.append(stack_of(record.exc_info[1], record.exc_info[2]))
        lines = [line for text in below for line in text.split("\n")]
        return "\n    ".join(_printable(line) for line in ("  ".join(parts), *lines))


def _shown(key: str, value: object) -> str:
    """A single word as it is, other texts in quotes, the rest as JSON: no value can pass for two fields."""
    if isinstance(value, str) and not conceals(key, value):
        text = redact_text(value)
        quoted = '"' + text.replace('"', r"\"") + '"'
        return quoted if _NEEDS_QUOTES.search(text) else text
    return JsonWriter().field(key, value)


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )
