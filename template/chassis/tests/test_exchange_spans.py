"""T1 and T4: the client span of an exchange, and the trace context that goes with it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from chassis.exchange import ExchangeFailed, Target, exchange, open_session

pytestmark = pytest.mark.criterion("T1")


class Spans:
    """A provider of its own, and what it exported."""

    def __init__(self) -> None:
        self.provider = TracerProvider(shutdown_on_exit=False)
        self._exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("test")

    @property
    def ended(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def only(self) -> tuple[ReadableSpan, dict[str, object]]:
        (span,) = self.ended
        return span, dict(span.attributes or {})


@pytest.fixture
def spans() -> Iterator[Spans]:
    spans = Spans()
    yield spans
    spans.provider.shutdown()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session(dependencies=1, timeout=5, user_agent="user/1.0") as session:
        yield session


@asynccontextmanager
async def serving(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[Target]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(app) as server:
        yield Target(str(server.make_url("/")))


async def received_traceparent(session: aiohttp.ClientSession, tracer: trace.Tracer) -> str:
    """Call a dependency and return the only `traceparent` that reached it."""
    received: list[str] = []

    async def note(request: web.Request) -> web.Response:
        received.extend(request.headers.getall("traceparent"))
        return web.Response()

    async with serving(note) as target:
        await exchange(session, tracer, target.call("GET", "/", headers={"TraceParent": "x"}))
    (traceparent,) = received
    return traceparent


@pytest.mark.criterion("T4")
async def test_attribute_names_are_the_stable_ones_and_hold_no_query_values(
    session: aiohttp.ClientSession, spans: Spans
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=request.query_string)

    async with serving(answer) as target:
        call = target.call("GET", "/a?token=hunter2", params={"password": "hunter3"})
        response = await exchange(session, spans.tracer, call)
    assert response.body == b"token=hunter2&password=hunter3"
    span, attributes = spans.only()
    assert (span.name, span.kind) == ("GET", SpanKind.CLIENT)
    assert span.status.status_code is StatusCode.UNSET
    assert attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": call.url.port,
        "url.full": f"http://127.0.0.1:{call.url.port}/a",
    }


@pytest.mark.parametrize("status", [404, 500])
async def test_an_error_status_is_an_error_of_the_client_span(
    session: aiohttp.ClientSession, spans: Spans, status: int
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status)

    async with serving(answer) as target:
        await exchange(session, spans.tracer, target.call("GET", "/"))
    span, attributes = spans.only()
    assert span.status.status_code is StatusCode.ERROR
    assert attributes["error.type"] == str(status)


@pytest.mark.criterion("S2", "T4")
@pytest.mark.parametrize("answered", [False, True])
async def test_a_failure_is_an_error_whose_text_does_not_repeat_the_url(
    session: aiohttp.ClientSession, spans: Spans, answered: bool
) -> None:
    async def break_off(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "10"})
        assert request.transport is not None
        if answered:
            await response.prepare(request)
        else:
            request.transport.write(b"NONSENSE\r\n\r\n")
        request.transport.close()
        return response

    async with serving(break_off) as target:
        call = target.call("GET", "/", params={"token": "hunter2"})
        with pytest.raises(ExchangeFailed):
            await exchange(session, spans.tracer, call, attempt=1)
    span, attributes = spans.only()
    assert span.status.status_code is StatusCode.ERROR
    assert attributes["http.request.resend_count"] == 1
    assert attributes.get("http.response.status_code") == (200 if answered else None)
    assert "hunter2" not in span.to_json()


async def test_the_trace_goes_on_at_the_dependency(
    session: aiohttp.ClientSession, spans: Spans
) -> None:
    with spans.tracer.start_as_current_span("server") as parent:
        traceparent = await received_traceparent(session, spans.tracer)
    client, _ = spans.ended
    assert client.context is not None
    assert client.parent == parent.get_span_context()
    version, trace_id, span_id, flags = traceparent.split("-")
    assert version == "00"
    assert int(trace_id, 16) == parent.get_span_context().trace_id
    assert int(span_id, 16) == client.context.span_id
    assert int(flags, 16) & trace.TraceFlags.SAMPLED


@pytest.mark.criterion("T2")
@pytest.mark.parametrize(
    "provider", [TracerProvider(shutdown_on_exit=False), trace.NoOpTracerProvider()]
)
async def test_a_trace_that_is_not_sampled_goes_on_with_its_ids(
    session: aiohttp.ClientSession, provider: trace.TracerProvider
) -> None:
    """With tracing on, and with `OTEL_SDK_DISABLED`."""
    unsampled = trace.NonRecordingSpan(trace.SpanContext(0xABC, 0xDEF, is_remote=False))
    with trace.use_span(unsampled):
        traceparent = await received_traceparent(session, provider.get_tracer("test"))
    assert traceparent.startswith(f"00-{0xABC:032x}-")
    assert traceparent.endswith("-00")
