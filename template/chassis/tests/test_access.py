"""L4: the line that is written at once is the one that a record would have become."""

import io
import logging
from collections.abc import Iterator
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
    "user_agent": b"tests/1",
}


class Log:
    """The chassis's handler, alone on the root logger while a line is written: the test runner has its own there."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        self.handler = LineHandler(self._stream)
        self.handler.setFormatter(JsonFormatter(**FACTS))

    def lines(self, level: int, request: dict[str, Any]) -> list[str]:
        """Write a request and return what was written."""
        root = logging.getLogger()
        others, root.handlers = root.handlers, [self.handler]
        try:
            with trace.use_span(NonRecordingSpan(SPAN)):
                access.write(level, *IDS, **request)
        finally:
            root.handlers = others
        written = self._stream.getvalue().splitlines()
        self._stream.seek(0)
        self._stream.truncate()
        return written


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    monkeypatch.setattr("chassis.access.time.time", lambda: 1_764_000_000.5)
    # What records are dated by since Python 3.13.
    monkeypatch.setattr("chassis.access.time.time_ns", lambda: 1_764_000_000_500_000_000)
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.DEBUG)
    yield Log()
    root.setLevel(level)


@pytest.fixture
def no_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail when a record is made where none is needed."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a record was made")

    monkeypatch.setattr(logging.getLogger("chassis.access"), "makeRecord", refuse)


def by_record(level: int, request: dict[str, Any]) -> str:
    """What the formatter makes of the same request."""
    fields = dict(request)
    if fields["user_agent"] is not None:
        fields["user_agent"] = fields["user_agent"].decode("latin-1")
    milliseconds = {"duration_ms": fields.pop("seconds") * 1000}
    before = ("method", "path", "route", "status")
    ordered = {name: fields.pop(name) for name in before} | milliseconds | fields
    record = logging.getLogger("chassis.access").makeRecord(
        "chassis.access", level, "f.py", 1, "request_completed", (), None, "f", ordered
    )
    record.created = 1_764_000_000.5
    with trace.use_span(NonRecordingSpan(SPAN)):
        return JsonFormatter(**FACTS).format(record)


@given(
    path=st.text(st.characters(max_codepoint=0x250)).map(lambda text: f"/{text}")
    | st.sampled_from(["/x?token=hunter2", "/a:b@c", '/"', "/\x1b\u2028", "/" + "x" * 9000]),
    user_agent=st.none() | st.binary(min_size=1) | st.sampled_from([b"Bearer abcdef", b"x" * 600]),
    client_ip=st.sampled_from([None, "192.0.2.1", "2001:db8::1"]),
    method=st.sampled_from(["GET", "BREW", "M" * 40]),
    status=st.sampled_from([200, 404, 503]),
    level=st.sampled_from([logging.DEBUG, logging.INFO, logging.ERROR]),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_bytes_are_the_formatters(log: Log, level: int, **varied: Any) -> None:
    request = REQUEST | varied
    (line,) = log.lines(level, request)
    expected = by_record(level, request)
    assert line.replace('"duration_ms":12.500', '"duration_ms":12.5') == expected


def test_what_a_client_sends_is_not_kept_when_it_is_long(log: Log) -> None:
    """L6: else clients fill the memory, a header of megabytes for each of a thousand entries."""
    before = access._client.cache_info().currsize
    log.lines(logging.INFO, REQUEST | {"user_agent": b"x" * 501})
    log.lines(logging.INFO, REQUEST | {"client_ip": "x" * 501})
    assert access._client.cache_info().currsize == before


def test_an_ordinary_request_needs_no_record(log: Log, no_records: None) -> None:
    assert len(log.lines(logging.INFO, REQUEST)) == 1


def test_a_level_that_is_off_writes_nothing(log: Log) -> None:
    logging.getLogger().setLevel(logging.INFO)
    assert log.lines(logging.DEBUG, REQUEST) == []


def test_another_handler_gets_its_record(log: Log) -> None:
    seen: list[logging.LogRecord] = []

    class Recorder(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record)

    recorder = Recorder()
    logging.getLogger("chassis").addHandler(recorder)
    try:
        written = log.lines(logging.INFO, REQUEST)
    finally:
        logging.getLogger("chassis").removeHandler(recorder)
    assert [record.__dict__["status"] for record in seen] == [200]
    assert len(written) == 1


@pytest.mark.parametrize("place", ["logger", "handler"])
def test_a_filter_is_asked(log: Log, place: str) -> None:
    filtered = logging.getLogger("chassis.access") if place == "logger" else log.handler

    def refuse(record: logging.LogRecord) -> bool:
        return False

    filtered.addFilter(refuse)
    try:
        written = log.lines(logging.INFO, REQUEST)
    finally:
        filtered.removeFilter(refuse)
    assert written == []


def test_a_record_factory_is_used(log: Log) -> None:
    class Marked(logging.LogRecord):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.pod = "a"

    logging.setLogRecordFactory(Marked)
    try:
        written = log.lines(logging.INFO, REQUEST)
    finally:
        logging.setLogRecordFactory(logging.LogRecord)
    assert '"pod":"a"' in written[0]
