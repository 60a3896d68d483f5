"""Requests are sampled as the SDK's sampler of the same name would."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import httpx2
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags

from chassis.sampling import Sampling, sdk_sampler

Connect = Callable[[FastAPI], AbstractAsyncContextManager[httpx2.AsyncClient]]
MakeApp = Callable[..., FastAPI]
RecordSpans = Callable[[FastAPI], InMemorySpanExporter]
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE_ID}-b7ad6b7169203331-"
PARENTS = [None, *(SpanContext(5, 7, True, TraceFlags(flags)) for flags in (0, 1, 2, 3))]


@pytest.mark.criterion("T2")
@pytest.mark.parametrize("root", ["always_on", "always_off", "traceidratio"])
@pytest.mark.parametrize("prefix", ["", "parentbased_"])
@given(
    ratio=st.floats(0, 1),
    trace_id=st.integers(1, 2**128 - 1),
    parent=st.sampled_from(PARENTS),
)
@settings(deadline=None)
def test_the_decision_is_the_sdks(
    root: str, prefix: str, ratio: float, trace_id: int, parent: SpanContext | None
) -> None:
    context = Context()
    if parent is not None:
        context = trace.set_span_in_context(NonRecordingSpan(parent), context)
    sampler = sdk_sampler(prefix + root, ratio)
    decision = sampler.should_sample(context, trace_id, "GET", SpanKind.SERVER).decision
    expected = decision.is_sampled()  # type: ignore[no-untyped-call]
    assert Sampling(prefix + root, ratio).takes(trace_id, parent) is expected


@pytest.mark.criterion("T1")
@pytest.mark.parametrize(
    ("sampler", "headers", "flags"),
    [
        ("always_on", {}, 3),
        ("always_on", {"X-Trace-ID": TRACE_ID}, 1),
        ("always_on", {"traceparent": PARENT + "02"}, 3),
        ("always_off", {}, 2),
        ("always_off", {"X-Trace-ID": TRACE_ID}, 0),
        ("always_off", {"traceparent": PARENT + "01"}, 0),
        ("always_off", {"traceparent": PARENT + "03"}, 2),
    ],
)
async def test_flags_say_what_is_random_and_what_is_sampled(
    make_app: MakeApp,
    connect: Connect,
    record_spans: RecordSpans,
    sampler: str,
    headers: dict[str, str],
    flags: int,
) -> None:
    """W3C Trace Context, level 2: the caller's random flag goes on, and ids that are made here have it."""
    app = make_app(otel_traces_sampler=sampler)
    record_spans(app)

    @app.get("/flags")
    async def read_flags() -> int:
        return trace.get_current_span().get_span_context().trace_flags

    async with connect(app) as client:
        assert (await client.get("/flags", headers=headers)).json() == flags
