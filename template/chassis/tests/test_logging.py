"""L1, L2, L5 to L9: every record becomes exactly one line of strict JSON with the contract's fields."""

import io
import json
import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from pythonjsonlogger.json import JsonFormatter as LibraryFormatter

from chassis.logging import JsonFormatter, LineHandler

FACTS: dict[str, str] = {"service": "user-service", "version": "1.2.3", "environment": "staging"}
STANDARD = ["timestamp", "level", "logger", "message", "service", "version", "environment"]
SPAN = NonRecordingSpan(SpanContext(0xABC, 0x123, is_remote=False, trace_flags=TraceFlags(0)))
# Of its own, so that the test runner's capture does not format what is broken on purpose.
logger = logging.Logger("app.items")
Read = Callable[[], list[dict[str, Any]]]


def strict(line: str) -> dict[str, Any]:
    """Parse as the strictest reader: ASCII, one line, no NaN, no name twice."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({name for name, _ in pairs}) == len(pairs), "a name comes twice"
        return dict(pairs)

    assert line.isascii() and line.isprintable()
    fields: dict[str, Any] = json.loads(line, parse_constant=refuse, object_pairs_hook=unique)
    return fields


@pytest.fixture
def read() -> Read:
    """Log to a buffer, and read the lines that came since."""
    stream = io.StringIO()
    handler = LineHandler(stream)
    handler.setFormatter(JsonFormatter(**FACTS))
    logger.handlers = [handler]

    def read_lines() -> list[dict[str, Any]]:
        text = stream.getvalue()
        assert text.endswith("\n")
        return [strict(line) for line in text.split("\n")[:-1]]

    return read_lines


def made(
    message: Any = "hello",
    *args: Any,
    level: int = logging.INFO,
    extra: dict[str, Any] | None = None,
) -> logging.LogRecord:
    return logger.makeRecord("app.items", level, "f.py", 1, message, args, None, "f", extra)


def formatted(record: logging.LogRecord) -> dict[str, Any]:
    return strict(JsonFormatter(**FACTS).format(record))


def test_a_line_has_the_standard_fields_first_and_in_order(read: Read) -> None:
    """L2."""
    logger.info("hello %s", "ann", extra={"item_id": 7})
    [line] = read()
    timestamp = line.pop("timestamp")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", timestamp)
    assert abs((datetime.now(UTC) - datetime.fromisoformat(timestamp)).total_seconds()) < 60
    assert list(line.items()) == [
        ("level", "INFO"),
        ("logger", "app.items"),
        ("message", "hello ann"),
        *FACTS.items(),
        ("item_id", 7),
    ]


@pytest.mark.parametrize("created", [0.0, 1.0004, 1764000000.0, 1764000000.9996, 1764000001.25])
def test_the_timestamp_is_the_record_s_to_the_millisecond(created: float) -> None:
    """L2: also when the cached second is another one."""
    formatter = JsonFormatter(**FACTS)
    for moment in (created, created + 86400, created):
        record = made()
        record.created = moment
        expected = datetime.fromtimestamp(int(moment), UTC).strftime("%Y-%m-%dT%H:%M:%S")
        written = strict(formatter.format(record))["timestamp"]
        assert written == f"{expected}.{int(moment % 1 * 1000):03d}Z"


@pytest.mark.parametrize(
    ("numbers", "name"),
    [
        ((0, 5, 10, 19), "DEBUG"),
        ((20, 25), "INFO"),
        ((30, 35), "WARNING"),
        ((40, 49), "ERROR"),
        ((50, 60), "CRITICAL"),
    ],
)
def test_levels_have_five_names(numbers: tuple[int, ...], name: str) -> None:
    """L2: a custom level counts as the nearest lower one."""
    assert {formatted(made(level=number))["level"] for number in numbers} == {name}


def test_trace_and_span_ids_are_there_inside_a_span_only(read: Read) -> None:
    """L2, L3: absent, not zeros, outside one."""
    with trace.use_span(SPAN):
        logger.info("inside", extra={"item_id": 7})
    logger.info("outside")
    inside, outside = read()
    assert list(inside) == [*STANDARD, "trace_id", "span_id", "item_id"]
    assert (inside["trace_id"], inside["span_id"]) == (f"{0xABC:032x}", f"{0x123:016x}")
    assert "trace_id" not in outside and "span_id" not in outside


def test_no_extra_replaces_a_standard_field() -> None:
    """L2, L6."""
    names = [*STANDARD[:3], *STANDARD[4:], "trace_id", "span_id", "exception"]
    record = made(extra={**dict.fromkeys(names, "forged"), "extra_level": "too"})
    with trace.use_span(SPAN):
        line = formatted(record)
    assert (
        line["level"] == "INFO" and line["trace_id"] == f"{0xABC:032x}" and "exception" not in line
    )
    assert line["extra_extra_level"] == "forged" and line["extra_level"] == "too"
    assert all(line[f"extra_{name}"] == "forged" for name in names if name != "level")


@pytest.mark.parametrize("name", ["name", "args", "module", "message", "msg", "filename"])
def test_names_of_record_attributes_are_refused_by_logging_itself(name: str) -> None:
    """A limit that the module documents: the call raises, and nothing is lost silently."""
    with pytest.raises(KeyError, match="overwrite"):
        made(extra={name: "x"})


@pytest.mark.criterion("L6")
def test_headers_that_are_logged_as_they_came_replace_nothing() -> None:
    """Their names are bytes, which become text."""
    line = formatted(made({b"level": b"DEBUG", b"trace_id": b"0bad", b"accept": b"*/*"}))
    assert (line["level"], line["extra_level"]) == ("INFO", "DEBUG")
    assert (line["extra_trace_id"], line["accept"]) == ("0bad", "*/*")


def test_a_message_that_is_a_mapping_gives_the_fields() -> None:
    """As python-json-logger has it."""
    line = formatted(made({"event": "x", "password": "hunter2", "level": "z", 1: 2}))
    assert (line["message"], line["event"], line["password"]) == ("", "x", "***")
    assert (line["extra_level"], line["1"]) == ("z", 2)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,8}", fullmatch=True).filter(
            lambda name: name not in {*STANDARD, "message"} and name not in made().__dict__
        ),
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.sampled_from(["", "a b", "é\n"])
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.lists(st.integers(0, 9), max_size=3),
        max_size=10,
    )
)
@settings(deadline=None)
def test_ordinary_records_say_what_the_library_says(fields: dict[str, Any]) -> None:
    """python-json-logger is the oracle for all that needs no correction."""
    record = made("hello %s", "ann", extra=fields)
    library = LibraryFormatter("%(levelname)s %(name)s %(message)s", static_fields=FACTS)
    theirs = json.loads(library.format(record))
    theirs["level"], theirs["logger"] = theirs.pop("levelname"), theirs.pop("name")
    ours = formatted(record)
    ours.pop("timestamp")
    hidden = {name for name, value in ours.items() if value == "***"}
    assert {name: ours[name] for name in ours if name not in hidden} == {
        name: theirs[name] for name in theirs if name not in hidden
    }


HOSTILE = "\n\r\x00\x1b[2J\x85\u2028\u2029\"'\\\u202e\ud800\U0001f600{}</script>"


def test_nothing_that_a_client_sends_breaks_or_forges_a_line(read: Read) -> None:
    """L6: as message, argument, key or value."""
    forged = 'x","level":"CRITICAL"}\n{"level":"CRITICAL","message":"forged"}'
    for text in (HOSTILE, forged):
        logger.info(text)
        logger.info("%s", text, extra={"user_agent": text, "nested": {text: [text]}, text: 1})
    lines = read()
    assert len(lines) == 4
    assert {line["level"] for line in lines} == {"INFO"}
    assert lines[0]["message"] == HOSTILE.replace("\ud800", "\\ud800")
    assert lines[2]["message"] == forged


def test_huge_values_are_cut(read: Read) -> None:
    """L6: every string and the line as a whole are bounded, and the exception still fits."""
    huge = "\U0001f600" * 1_000_000
    try:
        raise ValueError(huge)
    except ValueError:
        many = {f"field_{number}": huge for number in range(100)}
        logger.exception(huge, extra={"path": huge, **many}, stack_info=True)
    [line] = read()
    assert len(json.dumps(line)) < 65_536
    assert "..." in line["message"] and line["..."] == "..."
    assert line["exception"]["type"] == "ValueError"
    assert line["stack_info"].startswith("Stack (most recent call last)")


@given(
    st.text(st.characters()),
    st.dictionaries(st.text(st.characters()), st.text(st.characters()) | st.floats()),
)
@settings(deadline=None)
def test_any_record_is_one_line(message: str, extra: dict[str, Any]) -> None:
    """L6, L8."""
    record = made("%s", message)
    record.__dict__.update(
        {key: value for key, value in extra.items() if key not in record.__dict__}
    )
    assert list(formatted(record))[:7] == STANDARD


def test_secrets_are_hidden_in_messages_fields_and_exceptions(read: Read) -> None:
    """L7."""
    try:
        raise ValueError("redis://:hunter2@cache refused, password=hunter2")
    except ValueError:
        logger.exception(
            "login with Bearer %s and password: %s",
            "hunter2",
            "hunter2",
            extra={"api_key": "hunter2", "request": {"headers": [("cookie", "hunter2")]}},
            stack_info=True,
        )
    logger.info("odd %d", "token=hunter2")
    logger.info({"db_password": "hunter2"})
    assert "hunter2" not in json.dumps(read())


class Raises:
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


@pytest.mark.parametrize(
    ("message", "args"),
    [
        ("%d items", ("x",)),
        ("%s %s", ("one",)),
        ("none", ("x",)),
        ("%", (1,)),
        ("%(a)s", ({"b": 1},)),
    ],
)
def test_wrong_arguments_lose_no_line(message: str, args: tuple[Any, ...]) -> None:
    """L8: what was meant is still there, and why it could not be written."""
    line = formatted(made(message, *args, extra={"item_id": 7}))
    assert line["message"].startswith(message)
    assert line["logging_error"]
    assert line["item_id"] == 7


def test_records_that_raise_lose_no_line(read: Read, capfd: pytest.CaptureFixture[str]) -> None:
    """L8, L1: and stderr stays empty."""
    logger.info(Raises())
    logger.info("%s", Raises(), extra={"odd": Raises()})
    logger.info("broken", extra={"created_by": 1})
    broken = made("broken")
    broken.created = float("nan")
    logger.handle(broken)
    broken = made("broken")
    del broken.name
    logger.handle(broken)
    lines = read()
    assert [line["message"] for line in lines[2:]] == [
        "broken",
        "log_record_unwritable",
        "log_record_unwritable",
    ]
    assert all(line["service"] == "user-service" for line in lines)
    assert capfd.readouterr().err == ""


def test_an_exception_is_one_object(read: Read) -> None:
    """L5."""
    try:
        raise LookupError("gone") from KeyError("cause")
    except LookupError:
        logger.exception("failed")
    [line] = read()
    assert list(line)[-1] == "exception"
    assert (line["exception"]["type"], line["exception"]["message"]) == ("LookupError", "gone")
    assert "KeyError: 'cause'" in line["exception"]["stacktrace"]
    assert "exc_info" not in line


def test_exceptions_that_others_made_a_text_of(read: Read) -> None:
    """L5: what a queue handler leaves, a formatter's cache, and no exception at all."""
    record = made("queued")
    record.exc_text = "Traceback (most recent call last):\n  File\nValueError: no"
    line = formatted(record)
    assert (line["exception"]["type"], line["exception"]["message"]) == ("ValueError", "no")
    logger.error("none", exc_info=True)
    assert "exception" not in read()[0]
