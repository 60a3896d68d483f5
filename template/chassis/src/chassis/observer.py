"""Each request is observed once, outermost: metrics, access log, server span and `X-Trace-ID`.

Pure ASGI. This runs on every request, so it does nothing twice: metric children are kept by route,
attributes are built only for sampled spans, headers are looked at once.
"""

import logging
import time
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from opentelemetry import context as otel_context
from opentelemetry.trace import Status, StatusCode
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis import routes
from chassis.health import PROBES
from chassis.lifecycle import Lifecycle
from chassis.metrics import Metrics
from chassis.tracing import Tracing

access_log = logging.getLogger("chassis.access")

# RFC 9110 and RFC 5789; anything else a client may invent, and each would be a series of its own.
METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"}
)
OTHER_METHOD = "_OTHER"
CLIENT_CLOSED_REQUEST = 499


@dataclass(frozen=True, slots=True)
class Instruments:
    """What an observation writes to."""

    metrics: Metrics
    tracing: Tracing
    lifecycle: Lifecycle


def install(app: FastAPI, metrics: Metrics, tracing: Tracing, lifecycle: Lifecycle) -> None:
    """Observe every request of `app`."""
    app.add_middleware(Observer, instruments=Instruments(metrics, tracing, lifecycle))


class Observer:
    """The outermost middleware."""

    def __init__(self, app: ASGIApp, instruments: Instruments) -> None:
        self.app = app
        self.instruments = instruments

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _Observation(self.instruments, scope, receive, send).run(self.app)
        else:
            await self.app(scope, receive, send)


class _Observation:
    """One request, from its arrival to its last byte."""

    __slots__ = (
        "app",
        "context",
        "disconnected",
        "finished",
        "headers",
        "in_progress",
        "instruments",
        "method",
        "probe",
        "receive",
        "request_bytes",
        "response_bytes",
        "root_path",
        "scope",
        "send",
        "span",
        "started",
        "status",
        "trace_id",
    )

    def __init__(
        self, instruments: Instruments, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self.started = time.perf_counter()
        self.instruments = instruments
        self.scope = scope
        self.receive = receive
        self.send = send
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        method: str = scope["method"]
        self.method = method if method in METHODS else OTHER_METHOD
        self.app: Starlette = scope["app"]
        self.root_path: str = scope.get("root_path", "")
        self.status = 0
        self.request_bytes = 0
        self.response_bytes = 0
        self.disconnected = False
        self.finished = False
        # By exact path: a prefix or a pattern would hide somebody's /health/live-stream.
        self.probe = scope["path"] in PROBES
        tracing = instruments.tracing
        self.span, self.context = (
            tracing.untraced()
            if self.probe
            else tracing.start_server_span(self.method, self.headers)
        )
        self.trace_id = f"{self.span.get_span_context().trace_id:032x}"
        self.in_progress = None if self.probe else instruments.metrics.in_progress(self.method)

    async def run(self, app: ASGIApp) -> None:
        token = otel_context.attach(self.context)
        if self.in_progress is not None:
            self.in_progress.inc()
        try:
            await app(self.scope, self.observed_receive, self.observed_send)
        except Exception:
            self.status = 500
            raise
        finally:
            if not self.finished:
                self.finish()
            otel_context.detach(token)

    async def observed_receive(self) -> Message:
        message = await self.receive()
        if message["type"] == "http.request":
            self.request_bytes += len(message.get("body", b""))
        elif self.status == 0:
            self.disconnected = True
        return message

    async def observed_send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", ()), (b"x-trace-id", self.trace_id.encode())]
            if self.instruments.lifecycle.draining:
                headers.append((b"connection", b"close"))
            message["headers"] = headers
        elif message["type"] == "http.response.body":
            if self.scope["method"] != "HEAD":
                self.response_bytes += len(message.get("body", b""))
            # Before the last byte leaves: who has the answer finds it in the metrics and the log.
            if not message.get("more_body", False) and not self.finished:
                self.finish()
        await self.send(message)

    def finish(self) -> None:
        self.finished = True
        seconds = time.perf_counter() - self.started
        if self.disconnected or self.status == 0:
            self.status = CLIENT_CLOSED_REQUEST
        route = routes.template(self.scope, self.app, self.root_path)
        if self.in_progress is not None:
            self.in_progress.dec()
            self._count(route, seconds)
        self._log(route, seconds)
        if self.span.is_recording():
            self._end_span(route)

    def _count(self, route: str, seconds: float) -> None:
        series = self.instruments.metrics.request_series(self.method, route, self.status)
        series.requests.inc()
        sampled = self.span.get_span_context().trace_flags.sampled
        series.duration.observe(seconds, {"trace_id": self.trace_id} if sampled else None)
        series.request_size.observe(self.request_bytes)
        series.response_size.observe(self.response_bytes)

    def _log(self, route: str, seconds: float) -> None:
        if self.probe:
            level = logging.DEBUG
        elif self.status >= 500:
            level = logging.ERROR
        else:
            level = logging.INFO
        if not access_log.isEnabledFor(level):
            return
        client = self.scope.get("client")
        fields = {
            "method": self.scope["method"],
            "path": self.scope["path"],
            "route": route,
            "status": self.status,
            "duration_ms": round(seconds * 1000, 3),
            "request_bytes": self.request_bytes,
            "response_bytes": self.response_bytes,
            "client_ip": client[0] if client else None,
            "user_agent": self.headers.get(b"user-agent", b"").decode("latin-1") or None,
        }
        access_log.log(level, "request_completed", extra=fields)

    def _end_span(self, route: str) -> None:
        scope, span = self.scope, self.span
        name = "HTTP" if self.method == OTHER_METHOD else self.method
        attributes: dict[str, Any] = {
            "http.request.method": self.method,
            "http.response.status_code": self.status,
            "network.protocol.version": scope["http_version"],
            "url.path": scope["path"],
            "url.scheme": scope["scheme"],
        }
        if self.method == OTHER_METHOD:
            attributes["http.request.method_original"] = scope["method"]
        if route != routes.UNMATCHED:
            attributes["http.route"] = route
            name = f"{name} {route}"
        if server := scope.get("server"):
            attributes["server.address"], attributes["server.port"] = server
        if client := scope.get("client"):
            attributes["client.address"] = client[0]
        if agent := self.headers.get(b"user-agent"):
            attributes["user_agent.original"] = agent.decode("latin-1")
        if self.status >= 500:
            attributes["error.type"] = str(self.status)
            span.set_status(Status(StatusCode.ERROR))
        span.set_attributes(attributes)
        span.update_name(name)
        span.end()
