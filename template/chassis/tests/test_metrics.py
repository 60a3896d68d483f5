"""Names, types and labels; what starts at zero; and nothing shared between applications."""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from threading import Barrier
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from chassis.metrics import Metrics
from chassis.service import read

Connect = Callable[[FastAPI], AbstractAsyncContextManager[httpx2.AsyncClient]]
MakeApp = Callable[..., FastAPI]

Value = Callable[..., float | None]
SERVICE = read()
PREFIX = SERVICE.metric_prefix


@pytest.fixture
def metrics(clock: Any) -> Metrics:
    return Metrics(SERVICE, "development", clock)


@pytest.fixture
def value(metrics: Metrics) -> Value:
    """One sample of `metrics`."""

    def sample(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    return sample


@pytest.mark.criterion("M1")
def test_names_types_and_labels(metrics: Metrics) -> None:
    metrics.request_series("GET", "/", 200).observe(0.1, 0, 0, None)
    metrics.in_progress("GET").inc()
    metrics.breaker("auth-service")
    metrics.start_cache()
    metrics.health("database", True)
    metrics.dependency("auth-service")
    with metrics.operation("thing_make"):
        pass
    found = {
        (family.name, family.type): frozenset(family.samples[0].labels) - {"le"}
        for family in metrics.registry.collect()
        if not family.name.startswith(("process_", "python_"))
    }
    assert found == {
        ("http_requests", "counter"): {"service", "method", "path", "status"},
        ("http_request_duration_seconds", "histogram"): {"service", "method", "path"},
        ("http_request_size_bytes", "histogram"): {"service", "method"},
        ("http_response_size_bytes", "histogram"): {"service", "method", "status"},
        ("http_requests_in_progress", "gauge"): {"service", "method"},
        ("circuit_breaker_state", "gauge"): {"service", "dependency", "state"},
        ("cache_operations", "counter"): {"service", "operation", "result"},
        ("health_check_status", "gauge"): {"service", "check"},
        ("service_info", "gauge"): {"service", "version", "environment", "template_version"},
        (f"{PREFIX}_auth_service_requests", "counter"): {"status"},
        (f"{PREFIX}_auth_service_duration_seconds", "histogram"): set(),
        (f"{PREFIX}_thing_make", "counter"): {"result"},
        (f"{PREFIX}_thing_make_duration_seconds", "histogram"): set(),
    }


@pytest.mark.criterion("M1")
def test_service_info(value: Value) -> None:
    labels = {
        "service": SERVICE.name,
        "version": SERVICE.version,
        "environment": "development",
        "template_version": SERVICE.template_version,
    }
    assert value("service_info", **labels) == 1


@pytest.mark.criterion("M6")
def test_no_created_series(metrics: Metrics) -> None:
    metrics.request_series("GET", "/", 200).observe(0.1, 0, 0, None)
    for exposition in (generate_latest, generate_openmetrics):
        assert b"_created" not in exposition(metrics.registry)


@pytest.mark.criterion("M6")
def test_a_breaker_is_one_hot_and_starts_closed(metrics: Metrics, value: Value) -> None:
    def states() -> dict[str, float | None]:
        labels = {"service": SERVICE.name, "dependency": "auth-service"}
        return {
            state: value("circuit_breaker_state", **labels, state=state)
            for state in ("closed", "open", "half_open")
        }

    show = metrics.breaker("auth-service")
    assert states() == {"closed": 1, "open": 0, "half_open": 0}
    show("open")
    assert states() == {"closed": 0, "open": 1, "half_open": 0}
    show("half_open")
    assert states() == {"closed": 0, "open": 0, "half_open": 1}


@pytest.mark.criterion("M6")
def test_cache_series_start_at_zero(metrics: Metrics, value: Value) -> None:
    metrics.start_cache()
    metrics.cache("get", "hit")

    def count(operation: str, result: str) -> float | None:
        labels = {"service": SERVICE.name, "operation": operation, "result": result}
        return value("cache_operations_total", **labels)

    assert count("get", "hit") == 1
    assert [count("get", "miss"), count("set", "error"), count("delete", "hit")] == [0, 0, 0]


@pytest.mark.criterion("M6")
def test_dependency_series_start_at_zero(metrics: Metrics, value: Value) -> None:
    name = f"{PREFIX}_auth_service_requests_total"
    dependency = metrics.dependency("auth-service")
    assert [value(name, status=s) for s in ("200", "timeout", "error", "circuit_open")] == [0] * 4
    dependency.observe("500", 0.2)
    dependency.reject()
    assert [value(name, status=s) for s in ("500", "circuit_open")] == [1, 1]
    assert value(f"{PREFIX}_auth_service_duration_seconds_count") == 1
    assert value(f"{PREFIX}_auth_service_duration_seconds_sum") == 0.2


def test_threads_that_begin_an_operation_together_share_it(metrics: Metrics) -> None:
    together = Barrier(8)

    def run(name: str) -> None:
        together.wait()
        with metrics.operation(name):
            pass

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            for number in range(20):
                list(threads.map(run, [f"thing_{number}"] * 8))
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.criterion("M1")
def test_an_operation_is_counted_by_result_and_timed(
    metrics: Metrics, value: Value, clock: Any
) -> None:
    for _ in range(2):
        with metrics.operation("thing_make"):
            clock.advance(2)
    with pytest.raises(LookupError), metrics.operation("thing_make"):
        raise LookupError
    assert value(f"{PREFIX}_thing_make_total", result="success") == 2
    assert value(f"{PREFIX}_thing_make_total", result="error") == 1
    assert value(f"{PREFIX}_thing_make_duration_seconds_sum") == 4


@pytest.mark.criterion("M1")
def test_health_shows_the_last_result(metrics: Metrics, value: Value) -> None:
    metrics.health("database", True)
    metrics.health("database", False)
    assert value("health_check_status", service=SERVICE.name, check="database") == 0


@pytest.mark.criterion("M7")
@pytest.mark.criterion("D3")
async def test_two_applications_share_nothing(make_app: MakeApp, connect: Connect) -> None:
    one, other = make_app(), make_app()

    def requests(app: FastAPI) -> int:
        return generate_latest(app.state.chassis.metrics.registry).count(b"http_requests_total{")

    async with connect(one) as client:
        await client.get("/nowhere")
    assert (requests(one), requests(other)) == (1, 0)
