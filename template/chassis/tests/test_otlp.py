"""Encoded by hand, spans say what the library's encoder says."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from chassis import otlp

RESOURCE = Resource({"service.name": "user-service"})
OTHER = Resource({"service.name": "other"}, "https://example.com/schema")
SCOPE = InstrumentationScope("chassis")
SAMPLED = TraceFlags(TraceFlags.SAMPLED)
OWN = SpanContext(2**127, 1, False, SAMPLED)


def span(**fields: Any) -> ReadableSpan:
    defaults: dict[str, Any] = {
        "name": "GET /items/{id}",
        "context": OWN,
        "resource": RESOURCE,
        "instrumentation_scope": SCOPE,
        "kind": SpanKind.SERVER,
        "start_time": 1_764_000_000_000_000_001,
        "end_time": 1_764_000_000_000_000_002,
        "attributes": {},
    }
    return ReadableSpan(**{**defaults, **fields})


def assert_same(*spans: ReadableSpan) -> None:
    request = ExportTraceServiceRequest.FromString(otlp.encode(spans))
    assert request == encode_spans(spans)


values = st.one_of(
    st.text(),
    st.text(min_size=300),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.lists(st.text(), max_size=3),
)


@pytest.mark.criterion("T2")
@given(
    attributes=st.dictionaries(st.text(), values, max_size=5),
    name=st.text(),
    kind=st.sampled_from(SpanKind),
    trace_id=st.integers(1, 2**128 - 1),
    span_id=st.integers(1, 2**64 - 1),
    code=st.sampled_from(StatusCode),
    description=st.none() | st.text(),
)
@settings(deadline=None)
def test_any_plain_span(
    attributes: Mapping[str, Any],
    name: str,
    kind: SpanKind,
    trace_id: int,
    span_id: int,
    code: StatusCode,
    description: str | None,
) -> None:
    context = SpanContext(trace_id, span_id, False, SAMPLED)
    status = Status(code, description if code is StatusCode.ERROR else None)
    assert_same(span(attributes=attributes, name=name, kind=kind, context=context, status=status))


@pytest.mark.criterion("T2")
@pytest.mark.parametrize(
    "fields",
    [
        {"parent": SpanContext(5, 7, True, SAMPLED)},
        {"parent": SpanContext(5, 7, False, SAMPLED)},
        {"context": SpanContext(5, 7, False, SAMPLED, TraceState([("a", "1"), ("b", "2")]))},
        {"events": [Event("exception", {"exception.type": "X"}, 5)]},
        {"links": [Link(OWN, {"a": 1})]},
        {"attributes": {"equal": 1}, "name": "1"},
        {"attributes": {"equal": True}},
        {"attributes": {"equal": 1.0}},
        {"attributes": None},
        {"instrumentation_scope": None},
    ],
    ids=[
        "remote_parent",
        "local_parent",
        "trace_state",
        "event",
        "link",
        "number",
        "boolean",
        "float",
        "no_attributes",
        "no_scope",
    ],
)
def test_what_few_spans_have(fields: dict[str, Any]) -> None:
    assert_same(span(), span(**fields), span())


@pytest.mark.criterion("T3")
def test_spans_are_grouped_by_resource_and_scope() -> None:
    scope = InstrumentationScope("database", "1", "https://example.com/schema")
    assert_same(
        span(), span(resource=OTHER), span(instrumentation_scope=scope, name="SELECT"), span()
    )


@pytest.mark.criterion("T1")
def test_a_text_that_utf8_cannot_carry_is_left_to_the_library(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert_same(span(attributes={"bad": "\ud800", "good": 1}))
    assert caplog.messages


@pytest.mark.criterion("S2")
def test_secrets_in_what_others_recorded_are_hidden() -> None:
    """`start_span` and `use_span`, and the spans of libraries, copy the text of an exception as it is."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("tests")
    with pytest.raises(RuntimeError), tracer.start_as_current_span("work"):
        raise RuntimeError("postgresql://user:hunter2@db/x is down")
    tracer.start_span("other").set_status(StatusCode.ERROR, "password=hunter2")
    with tracer.start_as_current_span("last") as last:
        last.set_status(StatusCode.ERROR, "password=hunter2")
    encoded = otlp.encode(exporter.get_finished_spans())
    assert b"is down" in encoded
    assert b"hunter2" not in encoded
