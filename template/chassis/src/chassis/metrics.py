"""Improvement 2: the same metric names, types and labels in every service.

Each application has its own registry; nothing is registered process-wide. Children are looked up
once per label set and kept, since `labels()` on every request costs more than the observation.
"""

import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from chassis.request_metrics import DURATION_BUCKETS, SIZE_BUCKETS, InProgress, RequestSeries
from chassis.service import Service, snake_case

DEPENDENCY_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
BREAKER_STATES = ("closed", "open", "half_open")
CACHE_OPERATIONS = ("get", "set", "delete")
CACHE_RESULTS = ("hit", "miss", "error")
NOT_A_RESPONSE = ("timeout", "error", "circuit_open")


class Metrics:
    """All metrics of one application.

    Args:
        service: names the `service` label and prefixes the business and dependency metrics.
        environment: for `service_info`.
        clock: seconds, monotonic.
    """

    def __init__(
        self, service: Service, environment: str, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        # The only switch that the library has for these series is process-wide.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._service = service.name
        self._prefix = service.metric_prefix
        self._clock = clock
        self.registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._define_http()
        self._define_chassis()
        self._info(service, environment)
        # Bounded: routes and methods are, statuses are.
        self.request_series = functools.cache(self._request_series)
        self.in_progress = functools.cache(self._in_progress)
        self._operations = functools.cache(self._operation)
        self._registering = threading.Lock()
        self.dependency = functools.cache(self._dependency)
        self._cache_series = functools.cache(self._cache_child)
        self._health_series = functools.cache(self._health_child)

    def _define_http(self) -> None:
        registry = self.registry
        self._requests = Counter(
            "http_requests",
            "HTTP requests answered.",
            ("service", "method", "path", "status"),
            registry=registry,
        )
        self._duration = Histogram(
            "http_request_duration_seconds",
            "Time from a request's arrival to its last byte.",
            ("service", "method", "path"),
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self._request_size = Histogram(
            "http_request_size_bytes",
            "Body bytes received.",
            ("service", "method"),
            buckets=SIZE_BUCKETS,
            registry=registry,
        )
        self._response_size = Histogram(
            "http_response_size_bytes",
            "Body bytes sent.",
            ("service", "method", "status"),
            buckets=SIZE_BUCKETS,
            registry=registry,
        )
        self._requests_in_progress = Gauge(
            "http_requests_in_progress",
            "HTTP requests being answered.",
            ("service", "method"),
            registry=registry,
        )

    def _define_chassis(self) -> None:
        registry = self.registry
        self._breaker_state = Gauge(
            "circuit_breaker_state",
            "1 for the state that the breaker is in.",
            ("service", "dependency", "state"),
            registry=registry,
        )
        self._cache_operations = Counter(
            "cache_operations",
            "Cache operations by result.",
            ("service", "operation", "result"),
            registry=registry,
        )
        self._health_status = Gauge(
            "health_check_status",
            "1 when the last check succeeded.",
            ("service", "check"),
            registry=registry,
        )

    def _info(self, service: Service, environment: str) -> None:
        Gauge(
            "service_info",
            "What is running.",
            ("service", "version", "environment", "template_version"),
            registry=self.registry,
        ).labels(service.name, service.version, environment, service.template_version).set(1)

    def _request_series(self, method: str, path: str, status: int) -> RequestSeries:
        code = str(status)
        return RequestSeries(
            self._requests.labels(self._service, method, path, code),
            self._duration.labels(self._service, method, path),
            self._request_size.labels(self._service, method),
            self._response_size.labels(self._service, method, code),
        )

    def _in_progress(self, method: str) -> InProgress:
        return InProgress(self._requests_in_progress.labels(self._service, method))

    def operation(self, name: str) -> AbstractContextManager[None]:
        """Count and time the block as the business operation `name` (snake_case)."""
        # Two threads that are the first would both register it.
        with self._registering:
            operation = self._operations(name)
        return operation.measure()

    def _operation(self, name: str) -> "Operation":
        return Operation(f"{self._prefix}_{name}", self.registry, self._clock)

    def _dependency(self, name: str) -> "DependencyMetrics":
        """Return the counter and the histogram of the calls to the dependency `name`."""
        return DependencyMetrics(f"{self._prefix}_{snake_case(name)}", name, self.registry)

    def breaker(self, dependency: str) -> Callable[[str], None]:
        """Return a function that shows the given breaker state; it starts as `closed`."""
        gauges = {
            state: self._breaker_state.labels(self._service, dependency, state)
            for state in BREAKER_STATES
        }

        def show(current: str) -> None:
            for state, gauge in gauges.items():
                gauge.set(state == current)

        show("closed")
        return show

    def start_cache(self) -> None:
        """Let the cache series start at zero."""
        for operation in CACHE_OPERATIONS:
            for result in CACHE_RESULTS:
                self._cache_series(operation, result)

    def cache(self, operation: str, result: str) -> None:
        """Count `get`, `set` or `delete` with its result: `hit`, `miss` or `error`."""
        self._cache_series(operation, result).inc()

    def _cache_child(self, operation: str, result: str) -> Counter:
        return self._cache_operations.labels(self._service, operation, result)

    def health(self, check: str, healthy: bool) -> None:
        """Show the result of the health check `check`."""
        self._health_series(check).set(healthy)

    def _health_child(self, check: str) -> Gauge:
        return self._health_status.labels(self._service, check)


class Operation:
    """Counts and times a business operation."""

    def __init__(self, name: str, registry: CollectorRegistry, clock: Callable[[], float]) -> None:
        self._clock = clock
        total = Counter(name, "Business operations by result.", ("result",), registry=registry)
        self._success = total.labels("success")
        self._error = total.labels("error")
        self._duration = Histogram(
            f"{name}_duration_seconds",
            "Time a business operation took.",
            buckets=DURATION_BUCKETS,
            registry=registry,
        )

    @contextmanager
    def measure(self) -> Iterator[None]:
        started = self._clock()
        try:
            yield
        except BaseException:
            self._error.inc()
            raise
        else:
            self._success.inc()
        finally:
            self._duration.observe(self._clock() - started)


class DependencyMetrics:
    """Counts and times the calls to one dependency."""

    def __init__(self, prefix: str, dependency: str, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            f"{prefix}_requests",
            f"Calls to {dependency} by outcome.",
            ("status",),
            registry=registry,
        )
        self._duration = Histogram(
            f"{prefix}_duration_seconds",
            f"Time a call to {dependency} took.",
            buckets=DEPENDENCY_BUCKETS,
            registry=registry,
        )
        for status in ("200", *NOT_A_RESPONSE):
            self._requests.labels(status)

    def observe(self, status: str, seconds: float) -> None:
        """Count one call.

        Args:
            status: the HTTP status code, or `timeout` or `error`.
            seconds: how long it took.
        """
        self._requests.labels(status).inc()
        self._duration.observe(seconds)

    def reject(self) -> None:
        """Count a call that the open breaker did not let out; it took no time worth a bucket."""
        self._requests.labels("circuit_open").inc()
