"""`trace.get_tracer(__name__)` in application code: finds the running application's provider.

OpenTelemetry has one provider per process, the chassis one per application. This one is installed
once and delegates to what the current context says.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Protocol, runtime_checkable

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    TracerProvider,
)
from opentelemetry.util import types
from opentelemetry.util._decorator import _agnosticcontextmanager

from chassis.errors import AppError
from chassis.errors import record_exception as record_redacted

_CURRENT: Final = otel_context.create_key("chassis-tracers")


@runtime_checkable
class Tracers(Protocol):
    """Where an application's tracers come from."""

    def tracer(self, *scope: object) -> Tracer: ...


def with_tracers(tracers: Tracers, context: Context) -> Context:
    """Return `context` in which application code finds `tracers`."""
    return otel_context.set_value(_CURRENT, tracers, context)


def install_global() -> None:
    """Let `trace.get_tracer(__name__)` find the current application's tracers."""
    if not isinstance(trace.get_tracer_provider(), _CurrentProvider):
        trace.set_tracer_provider(_CurrentProvider())


class _CurrentProvider(TracerProvider):
    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: types.Attributes | None = None,
    ) -> Tracer:
        return _CurrentTracer(
            (instrumenting_module_name, instrumenting_library_version, schema_url)
        )


class _CurrentTracer(Tracer):
    def __init__(self, scope: tuple[object, ...]) -> None:
        self._scope = scope

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: types.Attributes = None,
        links: Sequence[Link] | None = (),
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> Span:
        # A context that was extracted from a message, say, begins empty.
        tracers = otel_context.get_value(_CURRENT, context) or otel_context.get_value(_CURRENT)
        if not isinstance(tracers, Tracers):
            # Not the current span itself: who gets it here ends it.
            return NonRecordingSpan(trace.get_current_span(context).get_span_context())
        return tracers.tracer(*self._scope).start_span(
            name,
            context,
            kind,
            attributes,
            links,
            start_time,
            record_exception,
            set_status_on_exception,
        )

    # The API's own: as a decorator of a coroutine function it spans the coroutine, not the making of it.
    @_agnosticcontextmanager
    def start_as_current_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: types.Attributes = None,
        links: Sequence[Link] | None = (),
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> Iterator[Span]:
        span = self.start_span(name, context, kind, attributes, links, start_time)
        # The SDK would copy the text of an exception as it is, with the secrets that it may hold.
        with trace.use_span(span, end_on_exit, False, False):
            try:
                yield span
            except Exception as error:
                if isinstance(error, AppError) and error.status < 500:
                    # An answer, not a failure of the service (T1).
                    raise
                if record_exception:
                    record_redacted(error)
                if set_status_on_exception:
                    span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise
