"""L4: the line that is written at once is the one that a record would have become."""

import io
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from chassis import access
from chassis.logging import JsonFormatter, LineHandler

SPAN = SpanContext(0xABC, 0x123, is_remote=False, trace_flags=TraceFlags(0))
IDS = (f"{SPAN.trace_id:032x}", f"{SPAN.span_id:016x}")
FACTS: dict[str, Any] = {"service": "user-service", "version": "1.2.3", "environment": "staging"}
REQUEST: dict[str, Any] = {
    "method": "GET",
    "path": "/items/7",
    "route": "/items/{id}",
    "status": 200,
    "seconds": 0.0125,
    "request_bytes": 0,
    "response_bytes": 25,
    "client_ip": "192.0.2.1",
    "user_agent": "tests/1",
}

Lines = Callable[[], list[str]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """The chassis's handler, alone on the root logger, and the lines that it wrote."""
    stream = io.StringIO()
    handler = LineHandler(stream)
    handler.setFormatter(JsonFormatter(**FACTS))
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [handler])
    monkeypatch.setattr("chassis.access.time.time", lambda: 1_764_000_000.25)
    level = root.level
    root.setLevel(logging.DEBUG)

    def written() -> list[str]:
        found = stream.getvalue().splitlines()
        stream.seek(0)
        stream.truncate()
        return found

    yield written
    root.setLevel(level)


def by_record(level: int, request: dict[str, Any]) -> str:
    """What the formatter makes of the same request."""
    fields = dict(request)
    milliseconds = {"duration_ms": fields.pop("seconds") * 1000}
    before = ("method", "path", "route", "status")
    ordered = {name: fields.pop(name) for name in before} | milliseconds | fields
    record = logging.getLogger("chassis.access").makeRecord(
        "chassis.access", level, "f.py", 1, "request_completed", (), None, "f", ordered
    )
    record.created = 1_764_000_000.25
    with trace.use_span(NonRecordingSpan(SPAN)):
        return JsonFormatter(**FACTS).format(record)


@given(
    path=st.text(st.characters(max_codepoint=0x250)).map(lambda text: f"/{text}")
    | st.sampled_from(["/x?token=hunter2", "/a:b@c", '/"', "/\x1b\u2028", "/" + "x" * 9000]),
    user_agent=st.none() | st.text(min_size=1) | st.sampled_from(["Bearer abcdef", "x" * 600]),
    client_ip=st.sampled_from([None, "192.0.2.1", "2001:db8::1"]),
    method=st.sampled_from(["GET", "BREW", "M" * 40]),
    status=st.sampled_from([200, 404, 503]),
    level=st.sampled_from([logging.DEBUG, logging.INFO, logging.ERROR]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_bytes_are_the_formatters(lines: Lines, level: int, **varied: Any) -> None:
    request = REQUEST | varied
    with trace.use_span(NonRecordingSpan(SPAN)):
        access.write(level, *IDS, **request)
    (line,) = lines()
    expected = by_record(level, request)
    assert line.replace('"duration_ms":12.500', '"duration_ms":12.5') == expected


def test_a_level_that_is_off_writes_nothing(lines: Lines) -> None:
    logging.getLogger().setLevel(logging.INFO)
    access.write(logging.DEBUG, *IDS, **REQUEST)
    assert lines() == []


def test_another_handler_gets_its_record(lines: Lines) -> None:
    seen: list[logging.LogRecord] = []

    class Recorder(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record)

    recorder = Recorder()
    logging.getLogger("chassis").addHandler(recorder)
    try:
        access.write(logging.INFO, *IDS, **REQUEST)
    finally:
        logging.getLogger("chassis").removeHandler(recorder)
    assert [record.__dict__["status"] for record in seen] == [200]
    assert len(lines()) == 1


@pytest.mark.parametrize("place", ["logger", "handler"])
def test_a_filter_is_asked(lines: Lines, place: str) -> None:
    filtered = (
        logging.getLogger("chassis.access")
        if place == "logger"
        else logging.getLogger().handlers[0]
    )

    def refuse(record: logging.LogRecord) -> bool:
        return False

    filtered.addFilter(refuse)
    try:
        access.write(logging.INFO, *IDS, **REQUEST)
    finally:
        filtered.removeFilter(refuse)
    assert lines() == []


def test_a_record_factory_is_used(lines: Lines) -> None:
    class Marked(logging.LogRecord):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.pod = "a"

    logging.setLogRecordFactory(Marked)
    try:
        access.write(logging.INFO, *IDS, **REQUEST)
    finally:
        logging.setLogRecordFactory(logging.LogRecord)
    assert '"pod":"a"' in lines()[0]
