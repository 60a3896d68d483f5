"""Requests are sampled as the SDK's sampler of the same name would."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags

from chassis.sampling import Sampling, sdk_sampler

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
