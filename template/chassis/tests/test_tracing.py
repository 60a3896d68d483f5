"""Trace context in and out, ids on everything, spans without secrets, a bounded end."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, HTTPException
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from chassis.errors import AppError

Connect = Callable[[FastAPI], AbstractAsyncContextManager[httpx2.AsyncClient]]
MakeApp = Callable[..., FastAPI]
MakeSettings = Callable[..., Any]
RecordSpans = Callable[[FastAPI], InMemorySpanExporter]

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT_ID = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"
UUID = "0AF76519-16cd-43dd-8448-eb211c80319c"
tracer = trace.get_tracer("tests")


def with_routes(app: FastAPI) -> FastAPI:
    @app.get("/items/{id}")
    async def read(id: int) -> int:
        return id

    @app.get("/failing")
    async def failing() -> None:
        raise RuntimeError("postgresql://user:hunter2@db/x is down")

    @app.get("/refused")
    async def refused() -> None:
        raise HTTPException(409)

    @app.get("/unavailable")
    async def unavailable() -> None:
        raise AppError(503, "away", "Away")

    @app.get("/working")
    async def working() -> None:
        with tracer.start_as_current_span("work") as span:
            span.set_attribute("size", 1)

    @app.get("/health/live-stream")
    async def stream() -> None: ...

    return app


@pytest.fixture
def app(make_app: MakeApp) -> FastAPI:
    return with_routes(make_app())


@pytest.mark.criterion("T1")
async def test_a_server_span_tells_what_was_asked_and_answered(
    app: FastAPI, connect: Connect, record_spans: RecordSpans
) -> None:
    spans = record_spans(app)
    async with connect(app) as client:
        await client.get("/items/7?token=hunter2", headers={"User-Agent": "tests/1"})
    (span,) = spans.get_finished_spans()
    assert (span.name, span.kind) == ("GET /items/{id}", SpanKind.SERVER)
    assert span.status.status_code is StatusCode.UNSET
    expected = {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/items/{id}",
        "url.path": "/items/7",
        "url.scheme": "http",
        "server.address": "test",
        "client.address": "127.0.0.1",
        "user_agent.original": "tests/1",
    }
    assert span.attributes is not None
    assert expected.items() <= dict(span.attributes).items()
    assert "hunter2" not in span.to_json()


@pytest.mark.criterion("T1")
async def test_traceparent_is_continued(
    app: FastAPI, connect: Connect, record_spans: RecordSpans
) -> None:
    spans = record_spans(app)
    state = [("tracestate", "a=1,b=2"), ("tracestate", "c=3")]
    headers = [("traceparent", TRACEPARENT), *state, ("X-Trace-ID", "f" * 32)]
    async with connect(app) as client:
        response = await client.get("/items/7", headers=headers)
    (span,) = spans.get_finished_spans()
    assert response.headers["X-Trace-ID"] == TRACE_ID == f"{span.context.trace_id:032x}"
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == PARENT_ID
    assert span.context.trace_state.to_header() == "a=1,b=2,c=3"


@pytest.mark.criterion("T1")
@pytest.mark.parametrize(
    "values",
    [
        [""],
        ["rubbish"],
        [f"00-{'0' * 32}-{PARENT_ID}-01"],
        [f"00-{TRACE_ID}-{'0' * 16}-01"],
        [f"ff{TRACEPARENT[2:]}"],
        [TRACEPARENT, TRACEPARENT],
    ],
)
async def test_an_invalid_traceparent_is_ignored(
    app: FastAPI, connect: Connect, record_spans: RecordSpans, values: list[str]
) -> None:
    spans = record_spans(app)
    async with connect(app) as client:
        headers = [("traceparent", value) for value in values]
        response = await client.get("/items/7", headers=headers)
    (span,) = spans.get_finished_spans()
    assert span.parent is None
    assert response.headers["X-Trace-ID"] not in (TRACE_ID, "0" * 32)


@pytest.mark.criterion("T6")
@pytest.mark.parametrize("value", [TRACE_ID, TRACE_ID.upper(), UUID])
async def test_x_trace_id_names_the_new_trace(
    app: FastAPI, connect: Connect, record_spans: RecordSpans, value: str
) -> None:
    spans = record_spans(app)
    async with connect(app) as client:
        response = await client.get("/items/7", headers={"X-Trace-ID": value})
    (span,) = spans.get_finished_spans()
    assert response.headers["X-Trace-ID"] == TRACE_ID == f"{span.context.trace_id:032x}"
    assert span.parent is None


@pytest.mark.criterion("T6")
@pytest.mark.parametrize(
    "value", ["", "0" * 32, "f" * 31, "g" * 32, f"{TRACE_ID}-", TRACE_ID[:16] + "-" + TRACE_ID[16:]]
)
async def test_an_invalid_x_trace_id_is_ignored(app: FastAPI, connect: Connect, value: str) -> None:
    async with connect(app) as client:
        response = await client.get("/items/7", headers={"X-Trace-ID": value})
    trace_id = response.headers["X-Trace-ID"]
    assert len(bytes.fromhex(trace_id)) == 16
    assert trace_id not in (value, TRACE_ID, "0" * 32)


@pytest.mark.criterion("T2")
@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"otel_sdk_disabled": True},
        {"otel_traces_sampler": "always_off"},
        {"otel_traces_exporter": "none"},
    ],
)
@pytest.mark.parametrize("headers", [{}, {"traceparent": TRACEPARENT}, {"X-Trace-ID": TRACE_ID}])
async def test_ids_are_always_there(
    make_app: MakeApp, connect: Connect, overrides: dict[str, Any], headers: dict[str, str]
) -> None:
    app = make_app(**overrides)
    seen: list[trace.SpanContext] = []

    @app.get("/")
    async def root() -> None:
        with tracer.start_as_current_span("work"):
            seen.append(trace.get_current_span().get_span_context())

    async with connect(app) as client:
        trace_id = (await client.get("/", headers=headers)).headers["X-Trace-ID"]
    assert seen[0].is_valid
    assert f"{seen[0].trace_id:032x}" == trace_id
    assert trace_id == TRACE_ID if headers else trace_id != TRACE_ID


@pytest.mark.criterion("T2")
@pytest.mark.parametrize(
    ("sampler", "argument", "flags", "sampled"),
    [
        ("always_on", None, "00", True),
        ("always_off", None, "01", False),
        ("traceidratio", 1.0, "00", True),
        ("traceidratio", 0.0, "01", False),
        ("parentbased_always_on", None, "00", False),
        ("parentbased_always_on", None, "01", True),
        ("parentbased_always_on", None, None, True),
        ("parentbased_always_off", None, "01", True),
        ("parentbased_always_off", None, None, False),
        ("parentbased_traceidratio", 0.0, None, False),
        ("parentbased_traceidratio", None, None, True),
    ],
)
async def test_samplers(
    make_app: MakeApp,
    connect: Connect,
    record_spans: RecordSpans,
    sampler: str,
    argument: float | None,
    flags: str | None,
    sampled: bool,
) -> None:
    app = make_app(otel_traces_sampler=sampler, otel_traces_sampler_arg=argument)
    spans = record_spans(app)
    headers = {"traceparent": TRACEPARENT[:-2] + flags} if flags else {}
    async with connect(app) as client:
        await client.get("/", headers=headers)
    assert bool(spans.get_finished_spans()) is sampled


@pytest.mark.criterion("T1")
@pytest.mark.criterion("S2")
async def test_an_unhandled_error_is_recorded_without_its_secrets(
    app: FastAPI, connect: Connect, record_spans: RecordSpans
) -> None:
    spans = record_spans(app)
    async with connect(app) as client:
        await client.get("/failing")
    (span,) = spans.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    (event,) = span.events
    assert event.attributes is not None
    assert event.attributes["exception.type"] == "RuntimeError"
    assert "is down" in str(event.attributes["exception.message"])
    assert "hunter2" not in span.to_json()


@pytest.mark.criterion("T1")
@pytest.mark.parametrize(
    ("path", "status", "events"),
    [
        ("/refused", StatusCode.UNSET, 0),
        ("/nowhere", StatusCode.UNSET, 0),
        ("/unavailable", StatusCode.ERROR, 1),
    ],
)
async def test_only_5xx_is_an_error(
    app: FastAPI,
    connect: Connect,
    record_spans: RecordSpans,
    path: str,
    status: StatusCode,
    events: int,
) -> None:
    spans = record_spans(app)
    async with connect(app) as client:
        await client.get(path)
    (span,) = spans.get_finished_spans()
    assert (span.status.status_code, len(span.events)) == (status, events)


@pytest.mark.criterion("T4")
async def test_probes_are_not_traced_by_exact_path(
    app: FastAPI, connect: Connect, record_spans: RecordSpans
) -> None:
    spans = record_spans(app)
    async with connect(app) as client:
        for path in ("/health/live", "/health/ready", "/health/live-stream"):
            assert (await client.get(path)).headers["X-Trace-ID"]
    assert [s.name for s in spans.get_finished_spans()] == ["GET /health/live-stream"]


@pytest.mark.criterion("T2")
async def test_with_tracing_disabled_nothing_is_recorded_or_flushed(
    make_app: MakeApp, connect: Connect, record_spans: RecordSpans
) -> None:
    app = with_routes(make_app(otel_sdk_disabled=True))
    spans = record_spans(app)
    async with connect(app) as client:
        await client.get("/working")
    assert spans.get_finished_spans() == ()


@pytest.mark.criterion("S2", "T5")
async def test_what_a_client_sent_is_shown_in_part_and_without_secrets(
    app: FastAPI, connect: Connect, record_spans: RecordSpans
) -> None:
    """A span of megabytes would be refused by the collector, with all that are sent beside it."""
    spans = record_spans(app)
    async with connect(app) as client:
        await client.get("/items/Bearer%20abcdef", headers={"User-Agent": "x" * 5000})
        straddling = "x" * 1000 + " redis://user:hunter2hunter2hunter2@cache"
        await client.get("/items/7", headers={"User-Agent": straddling})
    first, second = (span.attributes or {} for span in spans.get_finished_spans())
    assert first["url.path"] == "/items/Bearer ***"
    assert first["user_agent.original"] == "x" * 1024
    assert "hunter2" not in str(second["user_agent.original"])
