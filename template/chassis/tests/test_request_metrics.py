"""Counted past the library's locks, requests read as if the library had counted them."""

import prometheus_client
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from chassis.request_metrics import DURATION_BUCKETS, SIZE_BUCKETS, InProgress, RequestSeries

sizes = st.integers(0, 20_000_000) | st.sampled_from(SIZE_BUCKETS)
durations = st.floats(0, 10) | st.sampled_from(DURATION_BUCKETS)


class Children:
    """The metrics of a request in a registry of their own."""

    def __init__(self) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.requests = Counter("a", "a", registry=self.registry)
        self.duration = Histogram("b", "b", buckets=DURATION_BUCKETS, registry=self.registry)
        self.request_size = Histogram("c", "c", buckets=SIZE_BUCKETS, registry=self.registry)
        self.response_size = Histogram("d", "d", buckets=SIZE_BUCKETS, registry=self.registry)
        self.in_progress = Gauge("e", "e", registry=self.registry)


@pytest.mark.criterion("M1")
@given(observed=st.lists(st.tuples(durations, sizes, sizes)))
@settings(deadline=None)
def test_the_exposition_is_the_librarys(observed: list[tuple[float, int, int]]) -> None:
    ours, theirs = Children(), Children()
    series = RequestSeries(ours.requests, ours.duration, ours.request_size, ours.response_size)
    in_progress = InProgress(ours.in_progress)
    for seconds, request_bytes, response_bytes in observed:
        in_progress.inc()
        series.observe(seconds, request_bytes, response_bytes, None)
        in_progress.dec()
        in_progress.inc()
        theirs.in_progress.inc()
        theirs.requests.inc()
        theirs.duration.observe(seconds)
        theirs.request_size.observe(request_bytes)
        theirs.response_size.observe(response_bytes)
    assert generate_latest(ours.registry) == generate_latest(theirs.registry)
