"""A collector that counts: what an application exports has to arrive somewhere."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


class Collector:
    """Receives spans over OTLP/gRPC and counts them by kind."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.server_spans = 0
        self.spans = 0

    def export(self, request: Any, context: Any) -> Any:
        for group in request.resource_spans:
            for scope in group.scope_spans:
                self.spans += len(scope.spans)
                self.server_spans += sum(span.kind == 2 for span in scope.spans)
        return ExportTraceServiceResponse()


@contextmanager
def collector() -> Iterator[Collector]:
    """Run a collector on a free port."""
    counting = Collector()
    handler = grpc.unary_unary_rpc_method_handler(
        counting.export,
        request_deserializer=ExportTraceServiceRequest.FromString,
        response_serializer=ExportTraceServiceResponse.SerializeToString,
    )
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(SERVICE, {"Export": handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    counting.endpoint = f"http://127.0.0.1:{port}"
    try:
        yield counting
    finally:
        server.stop(0).wait()
