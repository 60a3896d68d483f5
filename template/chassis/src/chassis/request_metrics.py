"""The metrics that every request is counted in, written at the least price."""

import time
from bisect import bisect_left

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.samples import Exemplar
from prometheus_client.values import MutexValue

DURATION_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
SIZE_BUCKETS = (100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)


class RequestSeries:
    """The series of one (method, route template, status).

    Only the event loop's thread counts requests, so this writes past the locks of the library, which
    cost more than the counting; reading and rendering are the library's.
    """

    __slots__ = (
        "_duration",
        "_duration_sum",
        "_request_size",
        "_request_size_sum",
        "_requests",
        "_response_size",
        "_response_size_sum",
    )

    def __init__(
        self,
        requests: Counter,
        duration: Histogram,
        request_size: Histogram,
        response_size: Histogram,
    ) -> None:
        self._requests: MutexValue = requests._value
        self._duration: list[MutexValue] = duration._buckets
        self._duration_sum: MutexValue = duration._sum
        self._request_size: list[MutexValue] = request_size._buckets
        self._request_size_sum: MutexValue = request_size._sum
        self._response_size: list[MutexValue] = response_size._buckets
        self._response_size_sum: MutexValue = response_size._sum

    def observe(
        self, seconds: float, request_bytes: int, response_bytes: int, trace_id: str | None
    ) -> None:
        """Count one request.

        Args:
            seconds: it took.
            request_bytes, response_bytes: of the bodies.
            trace_id: of a sampled request, for an exemplar of its duration.
        """
        self._requests._value += 1
        self._duration_sum._value += seconds
        # The last bucket, of what is over all bounds, is at the end.
        bucket = self._duration[bisect_left(DURATION_BUCKETS, seconds)]
        bucket._value += 1
        if trace_id is not None:
            bucket._exemplar = Exemplar({"trace_id": trace_id}, seconds, time.time())
        # Most requests have no body, which belongs into the first bucket.
        size = 0
        if request_bytes:
            size = bisect_left(SIZE_BUCKETS, request_bytes)
            self._request_size_sum._value += request_bytes
        self._request_size[size]._value += 1
        self._response_size_sum._value += response_bytes
        self._response_size[bisect_left(SIZE_BUCKETS, response_bytes)]._value += 1


class InProgress:
    """The gauge of one method, written as `RequestSeries` writes."""

    __slots__ = ("_value",)

    def __init__(self, gauge: Gauge) -> None:
        self._value = gauge._value

    def inc(self) -> None:
        self._value._value += 1

    def dec(self) -> None:
        self._value._value -= 1
