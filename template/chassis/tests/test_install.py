"""D3 and the order of the parts: what `chassis.install` makes of an application."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, Request
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chassis import (
    NATIVE_TELEMETRY_OFF,
    Chassis,
    cors,
    errors,
    health,
    install,
    limits,
    observer,
    prepare,
)
from chassis.errors import phrase
from chassis.lifecycle import State
from chassis.settings import ChassisSettings

Connect = Callable[[FastAPI], AbstractAsyncContextManager[httpx2.AsyncClient]]
MakeApp = Callable[..., FastAPI]
MakeSettings = Callable[..., ChassisSettings]
RecordSpans = Callable[[FastAPI], InMemorySpanExporter]
ORIGIN = "http://localhost:3000"


def requests(app: FastAPI) -> dict[tuple[str, str], float]:
    """How often the application counted a request, by path and status."""
    return {
        (sample.labels["path"], sample.labels["status"]): sample.value
        for metric in app.state.chassis.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "http_requests_total"
    }


@pytest.mark.criterion("D3", "M7")
class TestTwoApplications:
    async def test_count_for_themselves(self, make_app: MakeApp, connect: Connect) -> None:
        one, two = make_app(), make_app()

        async with connect(one) as client, connect(two):
            await client.get("/nowhere")

        assert requests(one) == {("__unmatched__", "404"): 1}
        assert requests(two) == {}

    async def test_trace_for_themselves(
        self, make_app: MakeApp, connect: Connect, record_spans: RecordSpans
    ) -> None:
        tracer = trace.get_tracer("application code")
        one, two = make_app(), make_app()
        spans_of_one, spans_of_two = record_spans(one), record_spans(two)

        @one.get("/work")
        @two.get("/work")
        async def work() -> None:
            with tracer.start_as_current_span("own span"):
                pass

        async with connect(one) as client, connect(two):
            await client.get("/work")
            names = sorted(span.name for span in spans_of_one.get_finished_spans())

        assert names == ["GET /work", "own span"]
        assert spans_of_two.get_finished_spans() == ()

    async def test_have_states_settings_and_checks_of_their_own(
        self, make_app: MakeApp, connect: Connect
    ) -> None:
        async def unhealthy() -> None:
            raise ConnectionError

        one, two = make_app(allowed_origins=[ORIGIN]), make_app(allowed_origins=[])
        one.state.chassis.health.add_check("database", unhealthy)

        async with connect(one) as first, connect(two) as second:
            answers = [
                await c.get("/health/ready", headers={"Origin": ORIGIN}) for c in (first, second)
            ]
            one.state.chassis.lifecycle.drain()

        assert [answer.status_code for answer in answers] == [503, 200]
        allowed = ["access-control-allow-origin" in answer.headers for answer in answers]
        assert allowed == [True, False]
        assert two.state.chassis.lifecycle.state is State.READY


class TestOrder:
    @pytest.mark.criterion("C4", "E1", "E2", "M5")
    @pytest.mark.parametrize(("path", "status"), [("/crash", 500), ("/large", 413), ("/hang", 503)])
    async def test_what_fails_inside_is_answered_allowed_traced_and_counted_outside(
        self,
        make_app: MakeApp,
        connect: Connect,
        record_spans: RecordSpans,
        path: str,
        status: int,
    ) -> None:
        app = make_app(max_body_bytes=1, request_timeout=0.05)
        spans = record_spans(app)

        @app.post("/crash")
        async def crash() -> None:
            raise RuntimeError

        @app.post("/large")
        async def large(request: Request) -> None:
            await request.body()

        @app.post("/hang")
        async def hang() -> None:
            await asyncio.Event().wait()

        async with connect(app) as client:
            response = await client.post(path, content=b"xx", headers={"Origin": ORIGIN})
            (span,) = spans.get_finished_spans()

        assert response.json()["error"] == phrase(status)
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert response.headers["x-trace-id"] == response.json()["trace_id"]
        assert requests(app) == {(path, str(status)): 1}
        assert span.context is not None
        assert f"{span.context.trace_id:032x}" == response.json()["trace_id"]

    @pytest.mark.criterion("M2")
    async def test_a_preflight_is_counted_too(self, make_app: MakeApp, connect: Connect) -> None:
        app = make_app()
        asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET"}

        async with connect(app) as client:
            await client.options("/anything", headers=asked)

        assert requests(app) == {("__unmatched__", "200"): 1}

    @pytest.mark.criterion("L4")
    @pytest.mark.parametrize(
        ("proxies", "client_ip"), [([], "127.0.0.1"), (["127.0.0.1"], "192.0.2.7")]
    )
    async def test_only_trusted_proxies_are_believed(
        self,
        make_app: MakeApp,
        connect: Connect,
        caplog: pytest.LogCaptureFixture,
        proxies: list[str],
        client_ip: str,
    ) -> None:
        caplog.set_level("INFO", "chassis.access")
        async with connect(make_app(trusted_proxies=proxies)) as client:
            await client.get("/nowhere", headers={"X-Forwarded-For": "192.0.2.7"})

        (record,) = [r for r in caplog.records if r.getMessage() == "request_completed"]
        assert record.__dict__["client_ip"] == client_ip


@pytest.mark.criterion("D1")
class TestLifespan:
    async def test_of_the_application_runs_inside(
        self, make_settings: MakeSettings, connect: Connect, record_spans: RecordSpans
    ) -> None:
        events: list[str] = []

        @asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
            with trace.get_tracer("start").start_as_current_span("starting"):
                events.append("start")
            yield {"found": "in the request's state"}
            events.append("stop")

        app = FastAPI(lifespan=lifespan, telemetry=NATIVE_TELEMETRY_OFF)
        installed = install(app, make_settings())
        spans = record_spans(app)
        async with app.router.lifespan_context(app) as state:
            names = [span.name for span in spans.get_finished_spans()]
            events.append("serve")

        assert isinstance(installed, Chassis)
        assert app.state.chassis is installed
        assert state == {"found": "in the request's state"}
        assert events == ["start", "serve", "stop"]
        assert names == ["starting"]

    @pytest.mark.criterion("T5")
    async def test_the_tracing_is_shut_down_also_when_the_start_fails(
        self, make_settings: MakeSettings, record_spans: RecordSpans
    ) -> None:
        @asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncIterator[None]:
            raise ConnectionError
            yield

        app = FastAPI(lifespan=lifespan, telemetry=NATIVE_TELEMETRY_OFF)
        install(app, make_settings())
        spans = record_spans(app)
        with pytest.raises(ConnectionError):
            async with app.router.lifespan_context(app):
                pass

        assert spans._stopped


class TestOneByOne:
    """A service that adopts the chassis turns the improvements on in steps."""

    async def test_what_is_prepared_changes_no_answer(
        self, make_settings: MakeSettings, connect: Connect
    ) -> None:
        app = FastAPI(telemetry=NATIVE_TELEMETRY_OFF)
        prepared = prepare(app, make_settings())
        async with connect(app) as client:
            answers = [await client.get(path) for path in ("/nowhere", "/health/live")]

        assert app.state.chassis is prepared
        assert [answer.json() for answer in answers] == [{"detail": "Not Found"}] * 2
        assert all("X-Trace-ID" not in answer.headers for answer in answers)
        assert requests(app) == {}

    @pytest.mark.parametrize("part", ["errors", "limits", "cors", "health", "observer"])
    async def test_each_part_works_alone(
        self, make_settings: MakeSettings, connect: Connect, part: str
    ) -> None:
        app = FastAPI(telemetry=NATIVE_TELEMETRY_OFF)
        settings = make_settings(max_body_bytes=1)
        parts = prepare(app, settings)

        @app.post("/bodies")
        async def read(request: Request) -> int:
            return len(await request.body())

        install_part: dict[str, Callable[[], None]] = {
            "errors": lambda: errors.install(app),
            "limits": lambda: limits.install(app, settings),
            "cors": lambda: cors.install(app, settings),
            "health": lambda: health.install(app, parts.health, parts.lifecycle),
            "observer": lambda: observer.install(
                app, parts.metrics, parts.tracing, parts.lifecycle
            ),
        }
        install_part[part]()
        async with connect(app) as client:
            unknown = await client.get("/nowhere", headers={"Origin": ORIGIN})
            large = await client.post("/bodies", content=b"xx")
            alive = await client.get("/health/live")

        seen = {
            "errors": "trace_id" in unknown.json(),
            "limits": large.status_code == 413,
            "cors": unknown.headers.get("Access-Control-Allow-Origin") == ORIGIN,
            "health": alive.status_code == 200,
            "observer": "X-Trace-ID" in unknown.headers,
        }
        assert [name for name, on in seen.items() if on] == [part]
