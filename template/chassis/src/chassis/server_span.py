"""The server span: the SDK's own, made without what most requests never use.

The SDK gives every span bounded collections for attributes, events and links, and checks and locks
them at every change: a third of a request's time. Here they are made when somebody first asks for
them, so all methods are the SDK's and behave as ever; the observer sets its attributes in one step.
"""

import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanLimits, Tracer, TracerProvider
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

_UNSET: Final = Status(StatusCode.UNSET)
_ERROR: Final = Status(StatusCode.ERROR)
_MOST_ATTRIBUTES: Final = 32
"""More than the observer sets."""


class SpanMaker:
    """Makes the server spans of one application, as its SDK tracer would."""

    def __init__(self, provider: TracerProvider) -> None:
        tracer = provider.get_tracer("chassis")
        if not isinstance(tracer, Tracer):
            raise TypeError("this provider makes no spans")
        self._tracer = tracer
        self._limits = limits = tracer._span_limits
        self._unlimited = (
            limits.max_span_attribute_length is None
            and (limits.max_span_attributes or _MOST_ATTRIBUTES) >= _MOST_ATTRIBUTES
        )

    def start(
        self, name: str, context: SpanContext, parent: SpanContext | None, base: Context
    ) -> "ServerSpan":
        """Start a span that is sampled.

        Args:
            name: the first one.
            context: of the new span.
            parent: the caller's, if there is one.
            base: what processors are told as the context that the span was started in.
        """
        tracer = self._tracer
        span = ServerSpan(tracer, name, context, parent, self._limits, self._unlimited)
        tracer.span_processor.on_start(span, base)
        return span


class UnrecordedSpan(NonRecordingSpan):
    """The ids of a request that is not recorded; most requests never ask for more than their text."""

    _made: SpanContext | None = None

    def __init__(self, ids: int, flags: TraceFlags, trace_state: TraceState | None) -> None:
        self._ids = ids
        self._flags = flags
        self._trace_state = trace_state

    def get_span_context(self) -> SpanContext:
        if self._made is None:
            trace_id, span_id = self._ids >> 64, self._ids & 2**64 - 1
            self._made = SpanContext(trace_id, span_id, False, self._flags, self._trace_state)
        return self._made

    def __repr__(self) -> str:
        return f"UnrecordedSpan({self.get_span_context()!r})"


class ServerSpan(Span):
    """A span of kind SERVER.

    `_attributes`, `_events` and `_links` are missing until they are used.
    """

    def __init__(
        self,
        tracer: Tracer,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        limits: SpanLimits,
        unlimited: bool,
    ) -> None:
        self._name = name
        self._context = context
        self._kind = SpanKind.SERVER
        self._instrumentation_info = tracer.instrumentation_info
        self._instrumentation_scope = tracer._instrumentation_scope
        self._parent = parent
        self._start_time = time.time_ns()
        self._end_time = None
        self._resource = tracer.resource
        self._status = _UNSET
        self._limits = limits
        self._unlimited = unlimited
        self._lock = threading.Lock()
        self._span_processor = tracer.span_processor
        self._record_exception = self._set_status_on_exception = True
        self._record_end_metrics = None

    def __getattr__(self, name: str) -> Any:
        made: Any
        match name:
            case "_attributes":
                limits = self._limits
                made = BoundedAttributes(
                    limits.max_span_attributes,
                    immutable=False,
                    max_value_len=limits.max_span_attribute_length,
                )
            case "_events":
                made = self._new_events()  # type: ignore[no-untyped-call]
            case "_links":
                made = self._new_links(())
            case _:
                raise AttributeError(name)
        setattr(self, name, made)
        return made

    def finish(self, name: str, attributes: Mapping[str, str | int], error: bool) -> None:
        """Set what the observer knows, and end the span."""
        if self._end_time is not None:
            return
        fields = self.__dict__
        if self._unlimited and "_attributes" not in fields:
            fields["_attributes"] = attributes
        else:
            self.set_attributes(attributes)
        with self._lock:
            fields.setdefault("_events", ())
            fields.setdefault("_links", ())
            self._name = name
            if error and self._status.status_code is not StatusCode.OK:
                self._status = _ERROR
            self._end_time = time.time_ns()
        self._span_processor._on_ending(self)
        self._span_processor.on_end(self)
