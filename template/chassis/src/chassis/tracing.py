"""Improvement 3: W3C trace context in and out, OTLP over gRPC, ids on everything.

Every application has its own provider. The server span is made by the observer through
`Tracing.start_server_span`: the native and the contrib instrumentation cost two to four requests'
worth of time each. An unsampled request costs its ids only.
"""

import asyncio
import os
import random
import re
import socket
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider, sampling
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    NoOpTracerProvider,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    Tracer,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from chassis.service import Service
from chassis.settings import ChassisSettings
from chassis.tracer_provider import with_tracers

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig

NATIVE_TELEMETRY_OFF: Final["TelemetryConfig"] = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "auto_configure": False,
}
"""For `FastAPI(telemetry=…)`: a global provider would switch the native spans on, beside ours."""

SHUTDOWN_SECONDS = 3.0
"""With what gRPC needs for its own end, a dead collector then delays the exit by less than 5 s."""
_SAMPLERS: Final[Mapping[str, Callable[[float], sampling.Sampler]]] = {
    "always_on": lambda _: sampling.ALWAYS_ON,
    "always_off": lambda _: sampling.ALWAYS_OFF,
    "traceidratio": sampling.TraceIdRatioBased,
    "parentbased_always_on": lambda _: sampling.DEFAULT_ON,
    "parentbased_always_off": lambda _: sampling.DEFAULT_OFF,
    "parentbased_traceidratio": sampling.ParentBasedTraceIdRatio,
}
_TRACE_ID: Final = re.compile(
    rb"[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE
)
_propagator: Final = TraceContextTextMapPropagator()


class Tracing:
    """The tracer provider of one application and the server spans made with it."""

    def __init__(self, service: Service, settings: ChassisSettings) -> None:
        # Client and database spans then use the same stable attribute names as the server span.
        os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http,database")
        # gRPC's C core writes to stderr otherwise, which is for nobody to parse.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        self._sampler: sampling.Sampler | None = None
        self._sdk: TracerProvider | None = None
        self._recording = False
        self._tracers: dict[tuple[object, ...], Tracer] = {}
        if not settings.otel_sdk_disabled:
            ratio = settings.otel_traces_sampler_arg
            self._sampler = _SAMPLERS[settings.otel_traces_sampler](1.0 if ratio is None else ratio)
            self._sdk = TracerProvider(
                sampler=self._sampler,
                resource=_resource(service, settings),
                id_generator=_GivenTraceId(),
                shutdown_on_exit=False,
            )
            self._add_exporter(settings)
        self.provider: trace.TracerProvider = self._sdk or NoOpTracerProvider()
        self._server_tracer = self.provider.get_tracer("chassis")

    def add_processor(self, processor: SpanProcessor) -> None:
        """Let `processor` see every recorded span; without one requests have ids only."""
        if self._sdk is not None:
            self._sdk.add_span_processor(processor)
            self._recording = True

    def start_server_span(
        self, method: str, headers: Mapping[bytes, bytes]
    ) -> tuple[Span, Context]:
        """Start the span of a request, or a bare context with ids when it is not sampled.

        Args:
            method: the span's first name; the route is not known yet.
            headers: of the request; `traceparent`, `tracestate` and `x-trace-id` are read.

        Returns:
            The span and the context to attach for the request.
        """
        parent, remote = _remote_parent(headers)
        if remote is not None:
            trace_id = remote.trace_id
        else:
            trace_id = _requested_trace_id(headers) or random.getrandbits(128) or 1
        sampled = False
        if self._sampler is not None:
            decision = self._sampler.should_sample(parent, trace_id, method, SpanKind.SERVER)
            sampled = decision.decision.is_sampled()  # type: ignore[no-untyped-call]
        elif remote is not None:
            sampled = remote.trace_flags.sampled
        span: Span
        if sampled and self._recording:
            with _given_trace_id(trace_id):
                span = self._server_tracer.start_span(method, parent, SpanKind.SERVER)
        else:
            span = _without_recording(trace_id, sampled, remote)
        return span, self.context(span, parent)

    def context(self, span: Span | None = None, base: Context | None = None) -> Context:
        """Return `base` with this application's tracing, and `span` as the current one."""
        context = with_tracers(self, base or Context())
        return context if span is None else trace.set_span_in_context(span, context)

    def untraced(self) -> tuple[Span, Context]:
        """Return ids for a request that is never traced, and a context in which nothing is."""
        span = _without_recording(random.getrandbits(128) or 1, False, None)
        suppressed = otel_context.set_value(
            otel_context._SUPPRESS_INSTRUMENTATION_KEY, True, Context()
        )
        return span, self.context(span, suppressed)

    def tracer(self, *scope: object) -> Tracer:
        """Return the tracer of an instrumentation scope, made once."""
        if scope not in self._tracers:
            self._tracers[scope] = self.provider.get_tracer(*scope)  # type: ignore[arg-type]  # as given
        return self._tracers[scope]

    async def shutdown(self, seconds: float = SHUTDOWN_SECONDS) -> None:
        """Flush and stop; gives up after `seconds`, since a dead collector takes longer."""
        if self._sdk is None:
            return
        flush = threading.Thread(target=self._sdk.shutdown, name="otel-shutdown", daemon=True)
        flush.start()
        await asyncio.to_thread(flush.join, seconds)

    def _add_exporter(self, settings: ChassisSettings) -> None:
        endpoint = (
            settings.otel_exporter_otlp_traces_endpoint or settings.otel_exporter_otlp_endpoint
        )
        if endpoint is None or settings.otel_traces_exporter == "none":
            return
        # gRPC is the heaviest import there is: only who exports pays for it.
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        secret = settings.otel_exporter_otlp_headers
        headers = None if secret is None else _pairs(secret.get_secret_value())
        exporter = OTLPSpanExporter(
            endpoint=endpoint, insecure=endpoint.startswith("http://"), headers=headers
        )
        self.add_processor(BatchSpanProcessor(exporter))


_trace_id: ContextVar[int | None] = ContextVar("chassis_trace_id", default=None)


@contextmanager
def _given_trace_id(trace_id: int) -> Iterator[None]:
    token = _trace_id.set(trace_id)
    try:
        yield
    finally:
        _trace_id.reset(token)


class _GivenTraceId(RandomIdGenerator):
    """Gives a root span the id that the request already has."""

    def generate_trace_id(self) -> int:
        return _trace_id.get() or super().generate_trace_id()


def _remote_parent(headers: Mapping[bytes, bytes]) -> tuple[Context, SpanContext | None]:
    # An empty context, not None: that is the current one, and the span in it would be the parent.
    if b"traceparent" not in headers:
        return Context(), None
    carrier = {
        name: headers[name.encode()].decode("latin-1")
        for name in ("traceparent", "tracestate")
        if name.encode() in headers
    }
    context = _propagator.extract(carrier, Context())
    span_context = trace.get_current_span(context).get_span_context()
    return (context, span_context) if span_context.is_valid else (Context(), None)


def _requested_trace_id(headers: Mapping[bytes, bytes]) -> int | None:
    value = headers.get(b"x-trace-id")
    if value is None:
        return None
    return int(value.replace(b"-", b""), 16) if _TRACE_ID.fullmatch(value) else None


def _without_recording(trace_id: int, sampled: bool, remote: SpanContext | None) -> Span:
    return NonRecordingSpan(
        SpanContext(
            trace_id,
            random.getrandbits(64) or 1,
            is_remote=False,
            trace_flags=TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT),
            trace_state=None if remote is None else remote.trace_state,
        )
    )


def _resource(service: Service, settings: ChassisSettings) -> Resource:
    ours = Resource.create(
        {
            "service.version": service.version,
            "service.instance.id": str(uuid.uuid4()),
            "deployment.environment.name": settings.environment.value,
            "host.name": socket.gethostname(),
        }
    )
    named = _pairs(settings.otel_resource_attributes or "")
    name = settings.otel_service_name or named.get("service.name") or service.name
    return ours.merge(OTELResourceDetector().detect()).merge(
        Resource({**named, "service.name": name})
    )


def _pairs(text: str) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in text.split(",") if "=" in pair)
    return {key.strip(): unquote(value.strip()) for key, _, value in pairs}
