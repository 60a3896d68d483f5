"""`LOG_FORMAT=console`: for people, with the same promises about secrets, forgery and lost lines."""

import io
import logging
import re

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from chassis.console import ConsoleFormatter

logger = logging.getLogger("app.items")


def shown(message: object, *args: object, **options: object) -> str:
    extra = options.pop("extra", None)
    info = options.pop("exc_info", None)
    record = logger.makeRecord("app.items", 30, "f.py", 1, message, args, info, "f", extra)  # type: ignore[arg-type]
    record.__dict__.update(options)
    return ConsoleFormatter().format(record)


def test_a_record_is_one_readable_line() -> None:
    span = NonRecordingSpan(
        SpanContext(0xABC << 100, 0x123, is_remote=False, trace_flags=TraceFlags(0))
    )
    with trace.use_span(span):
        line = shown(
            "hello %s", "한글", extra={"item_id": 7, "name_": "a b", "tags": ["x"], "empty": ""}
        )
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3} WARNING  app\.items  hello 한글  "
        r'item_id=7  name_="a b"  tags=\["x"\]  empty=""  trace=0000abc0',
        line,
    )


def test_the_traceback_stands_below_and_holds_no_secret() -> None:
    """L5, L7."""
    try:
        raise ValueError("redis://:hunter2@cache\n12:00:00.000 INFO forged")
    except ValueError as error:
        text = shown(
            "failed",
            exc_info=(ValueError, error, error.__traceback__),
            stack_info="Stack\n  token=hunter2",
        )
    first, *rest = text.split("\n")
    assert first.endswith("failed")
    assert rest[0] == "    Stack" and any("ValueError: redis://***@cache" in line for line in rest)
    assert all(line.startswith("    ") for line in rest)
    assert "hunter2" not in text


@pytest.mark.parametrize(
    "text", ["\n", "\r", "\x1b[2J", "\x00", "\u2028", "\u202e", "\x85", "\ud800"]
)
def test_control_characters_are_spelled_out(text: str) -> None:
    """L6."""
    line = shown(f"a{text}b", extra={"value": f"a{text}b"})
    assert line.isprintable()
    assert "a\\" in line


def test_secrets_are_hidden() -> None:
    """L7."""
    line = shown(
        "password=hunter2",
        extra={"token": "hunter2", "deep": {"cookie": "hunter2"}, "url": "x://a:hunter2@b"},
    )
    assert "hunter2" not in line
    assert 'token="***"' in line


def test_wrong_arguments_lose_no_line() -> None:
    """L8."""
    assert "%d ('x',)" in shown("%d", "x")


def test_a_stream_that_cannot_spell_a_character_gets_it_escaped() -> None:
    """L8: a terminal without UTF-8."""
    from chassis.logging import LineHandler

    buffer = io.BytesIO()
    handler = LineHandler(io.TextIOWrapper(buffer, "ascii"))
    handler.setFormatter(ConsoleFormatter())
    handler.handle(logging.makeLogRecord({"msg": "한", "levelno": 20}))
    assert b"\\ud55c" in buffer.getvalue()
