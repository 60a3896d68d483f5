"""Each request is observed once, outermost: metrics, access log, server span and `X-Trace-ID`.

Pure ASGI. This runs on every request, so it does nothing twice: metric children are kept by route,
attributes are built only for sampled spans, headers are looked at once.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from functools import lru_cache

from fastapi import FastAPI
from opentelemetry import context as otel_context
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis import access, routes
from chassis.health import PROBES
from chassis.lifecycle import Lifecycle
from chassis.metrics import Metrics
from chassis.redaction import redact_text
from chassis.server_span import ServerSpan
from chassis.tracing import Tracing

# RFC 9110 and RFC 5789; anything else a client may invent, and each would be a series of its own.
METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"}
)
OTHER_METHOD = "_OTHER"
CLIENT_CLOSED_REQUEST = 499
# Collectors refuse a message over 4 MiB, and with it the spans of 511 others.
_LONGEST = 1024


@dataclass(frozen=True, slots=True)
class Instruments:
    """What an observation writes to."""

    app: Starlette
    metrics: Metrics
    tracing: Tracing
    lifecycle: Lifecycle


def install(app: FastAPI, metrics: Metrics, tracing: Tracing, lifecycle: Lifecycle) -> None:
    """Observe every request of `app`."""
    app.add_middleware(Observer, instruments=Instruments(app, metrics, tracing, lifecycle))


class Observer:
    """The outermost middleware but for that of `TRUSTED_PROXIES`, which says who the client is."""

    def __init__(self, app: ASGIApp, instruments: Instruments) -> None:
        self.app = app
        self.instruments = instruments

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = _Observation(self.instruments, scope, receive, send)
        token = otel_context.attach(request.context)
        try:
            await self.app(scope, request.observed_receive, request.observed_send)
        except asyncio.CancelledError:
            raise
        except BaseException:
            request.status = 500
            raise
        finally:
            if not request.finished:
                request.finish()
            otel_context.detach(token)


class _Observation:
    """One request, from its arrival to its last byte."""

    __slots__ = (
        "context",
        "disconnected",
        "finished",
        "headers",
        "in_progress",
        "instruments",
        "method",
        "receive",
        "request_bytes",
        "response_bytes",
        "root_path",
        "sampled",
        "scope",
        "send",
        "span",
        "span_id",
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
        fields: list[tuple[bytes, bytes]] = scope["headers"]
        self.headers = dict(fields)
        method: str = scope["method"]
        self.method = method = method if method in METHODS else OTHER_METHOD
        self.root_path: str = scope.get("root_path", "")
        self.status = self.request_bytes = self.response_bytes = 0
        self.disconnected = self.finished = False
        # By exact path: a prefix or a pattern would hide somebody's /health/live-stream.
        if scope["path"] in PROBES:
            trace = instruments.tracing.untraced()
            self.in_progress = None
        else:
            trace = instruments.tracing.start_server_span(method, self.headers, fields)
            self.in_progress = instruments.metrics.in_progress(method)
            self.in_progress.inc()
        self.span, self.context, ids, self.sampled = trace
        self.trace_id = ids[:32]
        self.span_id = ids[32:]

    async def observed_receive(self) -> Message:
        message = await self.receive()
        if message["type"] == "http.request":
            self.request_bytes += len(message.get("body", b""))
        elif self.status == 0:
            self.disconnected = True
        return message

    def observed_send(self, message: Message) -> Awaitable[None]:
        kind = message["type"]
        if kind == "http.response.start":
            self.status = message["status"]
            # A handler may have passed on those of somebody else's answer.
            headers = [pair for pair in message.get("headers", ()) if pair[0] != b"x-trace-id"]
            headers.append((b"x-trace-id", self.trace_id.encode()))
            if self.instruments.lifecycle.draining:
                headers.append((b"connection", b"close"))
            message["headers"] = headers
        elif kind == "http.response.body":
            if self.scope["method"] != "HEAD":
                self.response_bytes += len(message.get("body", b""))
            # Before the last byte leaves: who has the answer finds it in the metrics and the log.
            if not message.get("more_body", False) and not self.finished:
                self.finish()
        return self.send(message)

    def finish(self) -> None:
        self.finished = True
        seconds = time.perf_counter() - self.started
        if self.disconnected or self.status == 0:
            self.status = CLIENT_CLOSED_REQUEST
        scope, instruments = self.scope, self.instruments
        route = routes.template(scope, instruments.app, self.root_path)
        level = logging.INFO if self.status < 500 else logging.ERROR
        if self.in_progress is None:
            level = logging.DEBUG
        else:
            self.in_progress.dec()
            series = instruments.metrics.request_series(self.method, route, self.status)
            exemplar = self.trace_id if self.sampled else None
            series.observe(seconds, self.request_bytes, self.response_bytes, exemplar)
        client = scope.get("client")
        access.write(
            level,
            self.trace_id,
            self.span_id,
            method=scope["method"],
            path=scope["path"],
            route=route,
            status=self.status,
            seconds=seconds,
            request_bytes=self.request_bytes,
            response_bytes=self.response_bytes,
            client_ip=client[0] if client else None,
            user_agent=self.headers.get(b"user-agent"),
        )
        # `isinstance` would ask OpenTelemetry's abstract base class, which takes seven times as long.
        if type(self.span) is ServerSpan:
            self._end_span(self.span, route)

    def _end_span(self, span: ServerSpan, route: str) -> None:
        scope = self.scope
        name = "HTTP" if self.method == OTHER_METHOD else self.method
        attributes: dict[str, str | int] = {
            "http.request.method": self.method,
            "http.response.status_code": self.status,
            "network.protocol.version": scope["http_version"],
            "url.path": _shown(scope["path"]),
            "url.scheme": scope["scheme"],
        }
        if self.method == OTHER_METHOD:
            attributes["http.request.method_original"] = _shown(scope["method"])
        if route != routes.UNMATCHED:
            attributes["http.route"] = route
            name = f"{name} {route}"
        if server := scope.get("server"):
            attributes["server.address"], attributes["server.port"] = server
        if client := scope.get("client"):
            attributes["client.address"] = client[0][:_LONGEST]
        if agent := self.headers.get(b"user-agent"):
            shown = _agent if len(agent) <= _LONGEST else _shown_agent
            attributes["user_agent.original"] = shown(agent)
        failed = self.status >= 500
        if failed:
            attributes["error.type"] = str(self.status)
        span.finish(name, attributes, failed)


def _shown(sent: str) -> str:
    # Cut at last: half a secret is not recognised.
    return redact_text(sent)[:_LONGEST]


def _shown_agent(sent: bytes) -> str:
    return _shown(sent.decode("latin-1"))


# Callers come back; what is long is not kept.
_agent = lru_cache(maxsize=1024)(_shown_agent)
