"""The chassis is plugged in: remove one line of `chassis.install` and a test here fails."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, HTTPException, Request
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.main import create_app
from chassis.errors import AppError

MakeSettings = Callable[..., Any]


class Client(httpx2.AsyncClient):
    """What `make_client` gives."""

    app: FastAPI


MakeClient = Callable[[Any], AbstractAsyncContextManager[Client]]
ORIGIN = "http://localhost:3000"

pytestmark = pytest.mark.criterion("X2")


def record_spans(app: FastAPI) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    app.state.chassis.tracing.add_processor(SimpleSpanProcessor(exporter))
    return exporter


async def test_errors_have_the_standard_body(
    make_settings: MakeSettings, make_client: MakeClient
) -> None:
    async with make_client(make_settings()) as client:

        @client.app.get("/failing")
        async def failing() -> None:
            raise RuntimeError("secret")

        unknown, failed = await client.get("/nowhere"), await client.get("/failing")
    assert (unknown.status_code, unknown.json()["error"]) == (404, "Not Found")
    assert failed.status_code == 500
    assert failed.json() == {
        "error": "Internal Server Error",
        "message": "An unexpected error occurred",
        "details": None,
        "trace_id": failed.headers["X-Trace-ID"],
    }


async def test_errors_say_what_their_handlers_know(
    make_settings: MakeSettings, make_client: MakeClient
) -> None:
    async with make_client(make_settings()) as client:

        @client.app.get("/numbers/{number}")
        async def read(number: int) -> None:
            if number == 0:
                raise HTTPException(409, "Zero is taken")
            raise AppError(409, "number_taken", "The number is taken")

        invalid = await client.get("/numbers/x")
        taken, refused = await client.get("/numbers/1"), await client.get("/numbers/0")
    assert [error["loc"] for error in invalid.json()["details"]["errors"]] == [["path", "number"]]
    assert taken.json()["details"] == {"code": "number_taken"}
    assert refused.json()["message"] == "Zero is taken"


async def test_the_openapi_document_shows_the_standard_error(make_settings: MakeSettings) -> None:
    app = create_app(make_settings())

    @app.get("/documented")
    async def documented() -> None: ...

    responses = app.openapi()["paths"]["/documented"]["get"]["responses"]
    assert {"4XX", "5XX"} <= responses.keys()


async def test_bodies_are_bounded(make_settings: MakeSettings, make_client: MakeClient) -> None:
    async with make_client(make_settings(max_body_bytes=10)) as client:

        @client.app.post("/bodies")
        async def read(request: Request) -> int:
            return len(await request.body())

        assert (await client.post("/bodies", content=b"x" * 11)).status_code == 413


async def test_time_is_bounded(make_settings: MakeSettings, make_client: MakeClient) -> None:
    async with make_client(make_settings(request_timeout=0.05)) as client:

        @client.app.get("/hanging")
        async def hang() -> None:
            await asyncio.Event().wait()

        async with asyncio.timeout(10):
            assert (await client.get("/hanging")).status_code == 503


async def test_origins_are_answered(make_settings: MakeSettings, make_client: MakeClient) -> None:
    async with make_client(make_settings()) as client:
        response = await client.get("/nowhere", headers={"Origin": ORIGIN})
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN


async def test_probes_are_served(make_settings: MakeSettings, make_client: MakeClient) -> None:
    async with make_client(make_settings()) as client:
        live, ready = await client.get("/health/live"), await client.get("/health/ready")
    assert live.json() == {"status": "alive"}
    assert ready.json()["status"] == "ready"


async def test_requests_are_observed(
    make_settings: MakeSettings, make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "chassis.access")
    async with make_client(make_settings()) as client:
        spans = record_spans(client.app)
        response = await client.get("/nowhere")
        registry = client.app.state.chassis.metrics.registry
    counted = [s for m in registry.collect() for s in m.samples if s.name == "http_requests_total"]
    assert [s.labels["status"] for s in counted] == ["404"]
    assert "request_completed" in caplog.messages
    (span,) = spans.get_finished_spans()
    assert f"{span.context.trace_id:032x}" == response.headers["X-Trace-ID"]


async def test_application_code_can_trace(
    make_settings: MakeSettings, make_client: MakeClient
) -> None:
    async with make_client(make_settings()) as client:
        spans = record_spans(client.app)

        @client.app.get("/traced")
        async def traced() -> None:
            with trace.get_tracer(__name__).start_as_current_span("work"):
                pass

        await client.get("/traced")
    assert [span.name for span in spans.get_finished_spans()] == ["work", "GET /traced"]


def test_the_framework_observes_nothing_itself(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The chassis's own provider first: a process takes only one, and undoing the patch would lose it.
    create_app(make_settings())
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider(shutdown_on_exit=False))
    # There is no public way to ask.
    assert FastAPI()._native_telemetry.enabled()
    assert not create_app(make_settings())._native_telemetry.enabled()


async def test_proxies_are_believed_when_trusted(
    make_settings: MakeSettings, make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "chassis.access")
    headers = {"X-Forwarded-For": "192.0.2.7"}
    for trusted in ((), ("127.0.0.1",)):
        async with make_client(make_settings(trusted_proxies=trusted)) as client:
            await client.get("/nowhere", headers=headers)
    seen = [r.__dict__["client_ip"] for r in caplog.records if r.message == "request_completed"]
    assert seen == ["127.0.0.1", "192.0.2.7"]


async def test_the_end_flushes_spans_and_what_starts_finds_its_tracer(
    make_settings: MakeSettings,
) -> None:
    app = create_app(make_settings())
    spans = record_spans(app)
    flushed: list[bool] = []
    spans.shutdown = lambda: flushed.append(True)  # type: ignore[method-assign]
    async with app.router.lifespan_context(app):
        with trace.get_tracer(__name__).start_as_current_span("background"):
            pass
        assert "background" in [span.name for span in spans.get_finished_spans()]
    assert flushed == [True]
