"""The server span does what the SDK's span does, whatever is done to it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from chassis.server_span import SpanMaker

CONTEXT = SpanContext(0xABC, 0x123, False, TraceFlags(TraceFlags.SAMPLED))
ATTRIBUTES: dict[str, str | int] = {"http.request.method": "GET", "http.response.status_code": 503}
Act = Callable[[Span], object]


class Recorder(SpanProcessor):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.started: list[Span] = []
        self.ended: list[ReadableSpan] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.started.append(span)

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.append(span)


def record_error(span: Span) -> None:
    span.record_exception(RuntimeError("down"), timestamp=1)


ACTS: dict[str, Act] = {
    "nothing": lambda span: None,
    "attribute": lambda span: span.set_attribute("tenant", "acme"),
    "attributes": lambda span: span.set_attributes({"a": 1, "b": ["x", "y"]}),
    "same attribute": lambda span: span.set_attribute("http.request.method", "POST"),
    "long attribute": lambda span: span.set_attribute("long", "x" * 1000),
    "event": lambda span: span.add_event("cache filled", {"key": "a"}, 1),
    "exception": record_error,
    "link": lambda span: span.add_link(SpanContext(5, 7, True)),
    "status": lambda span: span.set_status(StatusCode.ERROR, "broken"),
    "ok": lambda span: span.set_status(StatusCode.OK),
}


def told(span: ReadableSpan) -> Any:
    """All that a span says, but for ids and times."""
    said = json.loads(span.to_json())
    for varying in ("context", "parent_id", "start_time", "end_time"):
        del said[varying]
    # `record_exception` is called at another place for each.
    for event in said["events"]:
        event["attributes"].pop("exception.stacktrace", None)
    return said, span.kind, span.instrumentation_scope, span.dropped_attributes, span.dropped_events


def by_sdk(act: Act, error: bool) -> ReadableSpan:
    provider, recorder = TracerProvider(), Recorder()
    provider.add_span_processor(recorder)
    span = provider.get_tracer("chassis").start_span("GET", Context(), SpanKind.SERVER)
    assert isinstance(span, Span)
    act(span)
    span.set_attributes({**ATTRIBUTES})
    span.update_name("GET /items")
    if error:
        span.set_status(Status(StatusCode.ERROR))
    span.end()
    return recorder.ended[0]


def by_us(act: Act, error: bool) -> ReadableSpan:
    provider, recorder = TracerProvider(), Recorder()
    provider.add_span_processor(recorder)
    span = SpanMaker(provider).start("GET", CONTEXT, None, Context())
    assert (span.is_recording(), recorder.started) == (True, [span])
    act(span)
    span.finish("GET /items", ATTRIBUTES, error)
    assert not span.is_recording()
    return recorder.ended[0]


@pytest.mark.criterion("T1")
@pytest.mark.parametrize("limit", [None, "2"])
@pytest.mark.parametrize("error", [False, True])
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_it_says_what_the_sdks_span_says(
    monkeypatch: pytest.MonkeyPatch, act: Act, error: bool, limit: str | None
) -> None:
    if limit is not None:
        monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", limit)
        monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "100")
    assert told(by_us(act, error)) == told(by_sdk(act, error))


@pytest.mark.criterion("T1")
def test_a_span_that_somebody_ended_ends_once(caplog: pytest.LogCaptureFixture) -> None:
    provider, recorder = TracerProvider(), Recorder()
    provider.add_span_processor(recorder)
    span = SpanMaker(provider).start("GET", CONTEXT, None, Context())
    span.end()
    span.finish("GET /items", ATTRIBUTES, False)
    assert [ended.name for ended in recorder.ended] == ["GET"]
    assert caplog.messages == []
