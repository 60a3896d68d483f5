"""An OpenTelemetry collector: receives spans over OTLP/gRPC and keeps them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from conformance.process import eventually

KINDS = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}


@dataclass(frozen=True, slots=True)
class Span:
    """One received span, flat."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    error: bool
    attributes: dict[str, Any]
    events: tuple[tuple[str, dict[str, Any]], ...]
    resource: dict[str, Any]

    def text(self) -> str:
        """Return all that the span says, for searching."""
        return f"{self.name} {self.attributes} {self.events} {self.resource}"


class Collector:
    """A TraceService on a free port of the loopback interface."""

    def __init__(self) -> None:
        self.port = 0
        self.spans: list[Span] = []
        self.headers: list[dict[str, str]] = []
        self._server: Any = None

    async def start(self) -> None:
        """Start receiving."""
        handler = grpc.unary_unary_rpc_method_handler(
            self._export,
            request_deserializer=ExportTraceServiceRequest.FromString,
            response_serializer=ExportTraceServiceResponse.SerializeToString,
        )
        name = "opentelemetry.proto.collector.trace.v1.TraceService"
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(name, {"Export": handler})]
        )
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()

    async def stop(self) -> None:
        """Stop receiving."""
        if self._server is not None:
            await self._server.stop(0)

    async def _export(self, request: Any, context: Any) -> Any:
        for group in request.resource_spans:
            resource = _attributes(group.resource.attributes)
            for scope in group.scope_spans:
                self.spans += [_flatten(span, resource) for span in scope.spans]
        return ExportTraceServiceResponse()

    async def trace(self, trace_id: str, count: int = 1, within: float = 6.0) -> list[Span]:
        """Return the spans of a trace, once that many and the server's, the last to end, are here or the time is up."""

        def of_trace() -> list[Span]:
            return [span for span in self.spans if span.trace_id == trace_id]

        def complete() -> bool:
            found = of_trace()
            return len(found) >= count and any(span.kind == "server" for span in found)

        await eventually(complete, within)
        return of_trace()


def _flatten(span: Any, resource: dict[str, Any]) -> Span:
    return Span(
        name=span.name,
        kind=KINDS.get(span.kind, "unspecified"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        error=span.status.code == 2,
        attributes=_attributes(span.attributes),
        events=tuple((event.name, _attributes(event.attributes)) for event in span.events),
        resource=resource,
    )


def _attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return getattr(value, kind) if kind else None
