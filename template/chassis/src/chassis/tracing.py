"""Improvement 3: W3C trace context in and out, OTLP over gRPC, ids on everything.

Every application has its own provider. The server span is made by the observer through
`Tracing.start_server_span`: the native and the contrib instrumentation cost two to four requests'
worth of time each. Sampling is decided first, so that an unsampled request costs its ids only.
"""

import asyncio
import os
import random
import re
import socket
import threading
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import (
    NoOpTracerProvider,
    Span,
    SpanContext,
    TraceFlags,
    Tracer,
)
from opentelemetry.trace.propagation import _SPAN_KEY
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from chassis.sampling import Sampling, sdk_sampler
from chassis.server_span import SpanMaker, UnrecordedSpan
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
_TRACE_ID: Final = re.compile(
    rb"[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE
)
_propagator: Final = TraceContextTextMapPropagator()
# A trace id and a span id in one number. That either is zero, which is invalid, is one in 2**64.
_ID_BYTES: Final = 24
_ID_BITS: Final = 8 * _ID_BYTES
_SPAN_ID: Final = 2**64 - 1
_UNSAMPLED: Final = TraceFlags(TraceFlags.DEFAULT)
# Trace ids that are made here are random, as those of the SDK.
_RANDOM: Final = TraceFlags(TraceFlags.RANDOM_TRACE_ID)
_SAMPLED: Final = {flags: TraceFlags(flags | TraceFlags.SAMPLED) for flags in (_UNSAMPLED, _RANDOM)}


RequestTrace = tuple[Span, Context, str, bool]
"""What tracing knows of a request: its span, the context to attach, trace id and span id together as
48 characters of hex, and whether it is sampled. A class for it would cost more than all four."""


class Tracing:
    """The tracer provider of one application and the server spans made with it."""

    def __init__(self, service: Service, settings: ChassisSettings) -> None:
        # Client and database spans then use the same stable attribute names as the server span.
        os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http,database")
        # gRPC's C core writes to stderr otherwise, which is for nobody to parse.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        self._sdk: TracerProvider | None = None
        self._spans: SpanMaker | None = None
        self._tracers: dict[tuple[object, ...], Tracer] = {}
        self._context = with_tracers(self, Context())
        # Disabled: what the caller decided is passed on, and nothing is recorded.
        self._sampling = Sampling("parentbased_always_off", 0.0)
        if not settings.otel_sdk_disabled:
            sampler = settings.otel_traces_sampler
            ratio = settings.otel_traces_sampler_arg
            ratio = 1.0 if ratio is None else ratio
            self._sampling = Sampling(sampler, ratio)
            self._sdk = TracerProvider(
                sampler=sdk_sampler(sampler, ratio),
                resource=_resource(service, settings),
                shutdown_on_exit=False,
            )
            self._add_exporter(settings)
        self.provider: trace.TracerProvider = self._sdk or NoOpTracerProvider()

    def add_processor(self, processor: SpanProcessor) -> None:
        """Let `processor` see every recorded span; without one requests have ids only."""
        if self._sdk is not None:
            self._sdk.add_span_processor(processor)
            self._spans = self._spans or SpanMaker(self._sdk)

    def start_server_span(
        self, method: str, headers: Mapping[bytes, bytes], fields: Sequence[tuple[bytes, bytes]]
    ) -> RequestTrace:
        """Start the span of a request, or only give it ids when it is not sampled.

        Args:
            method: the span's first name; the route is not known yet.
            headers: of the request; `traceparent` and `x-trace-id` are looked for.
            fields: the same with repetitions, of which `tracestate` may have some.
        """
        context = self._context
        parent = trace_state = None
        flags = _RANDOM
        ids = random.getrandbits(_ID_BITS)
        if b"traceparent" in headers:
            context, parent = _remote_parent(fields, context)
        if parent is not None:
            ids = parent.trace_id << 64 | ids & _SPAN_ID
            trace_state = parent.trace_state
            flags = TraceFlags(parent.trace_flags & TraceFlags.RANDOM_TRACE_ID)
        elif b"x-trace-id" in headers and (requested := _requested_trace_id(headers)):
            ids = requested << 64 | ids & _SPAN_ID
            flags = _UNSAMPLED
        sampled = self._sampling.takes(ids >> 64, parent)
        if sampled:
            flags = _SAMPLED[flags]
        span: Span
        if sampled and self._spans is not None:
            own = SpanContext(ids >> 64, ids & _SPAN_ID, False, flags, trace_state)
            span = self._spans.start(method, own, parent, context)
        else:
            span = UnrecordedSpan(ids, flags, trace_state)
        current = Context({**context, _SPAN_KEY: span})
        return span, current, ids.to_bytes(_ID_BYTES).hex(), sampled

    def context(self) -> Context:
        """Return a context with this application's tracing and no span."""
        return self._context

    def untraced(self) -> RequestTrace:
        """Return ids for a request that is never traced, and a context in which nothing is."""
        ids = random.getrandbits(_ID_BITS)
        span = UnrecordedSpan(ids, _UNSAMPLED, None)
        suppressed = otel_context.set_value(
            otel_context._SUPPRESS_INSTRUMENTATION_KEY, True, self._context
        )
        current = trace.set_span_in_context(span, suppressed)
        return span, current, ids.to_bytes(_ID_BYTES).hex(), False

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
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        from chassis.otlp import SpanExporter

        secret = settings.otel_exporter_otlp_traces_headers or settings.otel_exporter_otlp_headers
        headers = None
        if secret is not None:
            pairs = _pairs(secret.get_secret_value())
            # gRPC refuses names in any other case, and says so to nobody.
            headers = {unquote(name).lower(): value for name, value in pairs.items()}
        exporter = SpanExporter(
            endpoint=endpoint, insecure=endpoint.startswith("http://"), headers=headers
        )
        self.add_processor(BatchSpanProcessor(exporter))


def _remote_parent(
    fields: Sequence[tuple[bytes, bytes]], base: Context
) -> tuple[Context, SpanContext | None]:
    carrier = {
        name: [value.decode("latin-1") for field, value in fields if field == name.encode()]
        for name in ("traceparent", "tracestate")
    }
    # W3C Trace Context: nobody knows which one of two is true.
    if len(carrier["traceparent"]) > 1:
        return base, None
    context = _propagator.extract(carrier, base)
    span_context = trace.get_current_span(context).get_span_context()
    return (context, span_context) if span_context.is_valid else (base, None)


def _requested_trace_id(headers: Mapping[bytes, bytes]) -> int | None:
    value = headers[b"x-trace-id"]
    return int(value.replace(b"-", b""), 16) if _TRACE_ID.fullmatch(value) else None


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
