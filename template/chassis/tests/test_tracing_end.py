"""Who a service says it is to the collector, and that a hanging one does not hold its end."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chassis import service
from chassis.tracing import Tracing

MakeSettings = Callable[..., Any]


@pytest.mark.criterion("T3")
def test_the_resource_says_who_and_where(make_settings: MakeSettings) -> None:
    facts = service.read()
    attributes = Tracing(facts, make_settings())._sdk.resource.attributes  # type: ignore[union-attr]
    assert attributes["service.name"] == facts.name
    assert attributes["service.version"] == facts.version
    assert attributes["deployment.environment.name"] == "development"
    assert attributes["service.instance.id"]
    assert attributes["host.name"]


@pytest.mark.criterion("T3")
@pytest.mark.parametrize(("overrides", "name"), [({}, "b"), ({"otel_service_name": "a"}, "a")])
def test_the_standard_variables_go_before_ours(
    make_settings: MakeSettings, overrides: dict[str, str], name: str
) -> None:
    attributes_given = "service.name=b,k8s.pod.name=p%201"
    settings = make_settings(otel_resource_attributes=attributes_given, **overrides)
    tracing = Tracing(service.read(), settings)
    attributes = tracing._sdk.resource.attributes  # type: ignore[union-attr]
    assert (attributes["service.name"], attributes["k8s.pod.name"]) == (name, "p 1")


class Exporter(InMemorySpanExporter):
    """Notes what it is made with."""

    made: dict[str, Any]

    def __init__(self, **options: Any) -> None:
        super().__init__()
        Exporter.made = options


@pytest.mark.criterion("T2")
@pytest.mark.parametrize(
    ("for_traces", "headers"),
    [(None, {"x-team": "a b", "authorization": "Bearer c"}), ("X=y", {"x": "y"})],
)
async def test_headers_for_the_collector_are_as_grpc_takes_them(
    make_settings: MakeSettings,
    monkeypatch: pytest.MonkeyPatch,
    for_traces: str | None,
    headers: dict[str, str],
) -> None:
    """Names in lower case; those for traces alone go first."""
    monkeypatch.setattr("chassis.otlp.SpanExporter", Exporter)
    settings = make_settings(
        otel_exporter_otlp_endpoint="http://127.0.0.1:1",
        otel_exporter_otlp_headers="X-Team=a%20b, Authorization=Bearer%20c",
        otel_exporter_otlp_traces_headers=for_traces,
    )
    await Tracing(service.read(), settings).shutdown()
    assert Exporter.made["headers"] == headers


class Recorder(SpanProcessor):
    """Counts shutdowns; `blocked` holds each until it is set."""

    def __init__(self) -> None:
        self.blocked = threading.Event()
        self.stopped = 0

    def on_end(self, span: ReadableSpan) -> None: ...

    def shutdown(self) -> None:
        self.blocked.wait()
        self.stopped += 1


@pytest.mark.criterion("T5")
async def test_a_collector_that_hangs_does_not_hold_the_end(make_settings: MakeSettings) -> None:
    tracing, processor = Tracing(service.read(), make_settings()), Recorder()
    tracing.add_processor(processor)
    async with asyncio.timeout(2):
        await tracing.shutdown(seconds=0.01)
    assert processor.stopped == 0
    processor.blocked.set()


@pytest.mark.criterion("T5")
async def test_the_end_waits_for_the_flush(make_settings: MakeSettings) -> None:
    tracing, processor = Tracing(service.read(), make_settings()), Recorder()
    tracing.add_processor(processor)
    end = asyncio.create_task(tracing.shutdown())
    await asyncio.sleep(0)
    assert not end.done()
    processor.blocked.set()
    await end
    assert processor.stopped == 1
