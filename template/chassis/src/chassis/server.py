"""The process: uvicorn that drains before it stops, and the metrics on a port of their own."""

import asyncio
import gc
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from types import FrameType

import uvicorn
from fastapi import FastAPI
from opentelemetry import context as otel_context
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from chassis import Chassis
from chassis.errors import ResponseAborted, error_response
from chassis.protocol import HttpProtocol
from chassis.settings import ChassisSettings

logger = logging.getLogger(__name__)

# uvicorn's own INFO is for people at a terminal.
_SERVER_LEVELS = {"DEBUG": None, "ERROR": "error", "CRITICAL": "critical"}
METRICS_PATH = "/metrics"
EXIT_SECONDS = 3.0
"""After the server has stopped, or was told twice to, the process ends within this time, whatever hangs."""

_METRICS_GRACEFUL_TIMEOUT = 1
# What others have logged already, with ids or as an exception, is logged by uvicorn again as one of these.
_LOGGED_TEXTS = ("Invalid HTTP request received.", "Traceback (most recent call last):")
_LOGGED_ERRORS = (ResponseAborted, asyncio.CancelledError)


def serve(app: FastAPI, settings: ChassisSettings) -> int:
    """Serve `app` until a signal ends it.

    Returns:
        The exit code: 0 after an orderly end, 1 when it could not start, 128 plus the signal's number after a forced
        end.
    """
    chassis: Chassis = app.state.chassis
    logging.getLogger("uvicorn.error").addFilter(_not_logged_yet)
    metrics = _MetricsServer(_config(MetricsApp(chassis), settings, settings.metrics_port))
    server = DrainingServer(_config(app, settings, settings.port), chassis, settings, metrics)
    threading.Thread(target=_end_at_last, args=(server,), daemon=True).start()
    try:
        server.run()
    except SystemExit:
        if server.started:
            raise
        # uvicorn's, who has said why.
        return server.exit_code or 1
    return server.exit_code


def _config(app: ASGIApp, settings: ChassisSettings, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=port,
        loop="uvloop",
        http=HttpProtocol,
        lifespan="auto",
        log_config=None,
        log_level=_SERVER_LEVELS.get(settings.log_level, "warning"),
        access_log=False,
        server_header=False,
        # Done by the chassis, so that it holds under every server and in tests.
        proxy_headers=False,
        timeout_graceful_shutdown=settings.graceful_timeout,
    )


class DrainingServer(uvicorn.Server):
    """Goes on serving for `DRAIN_SECONDS` after SIGTERM, while readiness already says no.

    uvicorn alone closes its listener at once, before load balancers can know. SIGINT skips the drain,
    a second signal forces. The signal is not raised again at the end: an orderly stop exits 0.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        chassis: Chassis,
        settings: ChassisSettings,
        metrics: "_MetricsServer",
    ) -> None:
        super().__init__(config)
        self.exit_code = 0
        # Unlike an event's lock, it may be used by a signal handler that interrupts its use.
        self.ended: SimpleQueue[None] = SimpleQueue()
        self._chassis = chassis
        self._drain_seconds = settings.drain_seconds
        self._metrics = metrics
        self._metrics_task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._signalled = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await self._metrics.startup()
        try:
            await super().startup(sockets)
        except SystemExit:
            await self._metrics.shutdown()
            raise
        self._metrics_task = asyncio.create_task(self._metrics.main_loop())
        # What is there now stays. Each full collection looked through it for 75 ms, in which nobody was answered.
        gc.freeze()
        logger.info(
            "service_started",
            extra={
                "host": self.config.host,
                "port": _port(self),
                "metrics_port": _port(self._metrics),
            },
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        self._metrics.should_exit = True
        await self._metrics.shutdown()
        gc.unfreeze()
        logger.info("service_stopped")
        self.ended.put(None)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._signalled or self._loop is None:
            self.should_exit = self.force_exit = True
            self.exit_code = 128 + sig
            self.ended.put(None)
            return
        self._signalled = True
        # Python runs signal handlers between any two bytecodes; the loop, this between callbacks.
        self._loop.call_soon_threadsafe(self._drain, sig)

    def _drain(self, sig: int) -> None:
        seconds = 0.0 if sig == signal.SIGINT else self._drain_seconds
        self._chassis.lifecycle.drain()
        logger.info("draining", extra={"signal": signal.Signals(sig).name, "seconds": seconds})
        asyncio.get_running_loop().call_later(seconds, self._stop)

    def _stop(self) -> None:
        self.should_exit = True


class _MetricsServer(uvicorn.Server):
    """A second listener on the same loop; signals and the process belong to the main server."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        # One that scrapes without reading must not have the whole time once more, nor hold an end that is forced.
        config.timeout_graceful_shutdown = _METRICS_GRACEFUL_TIMEOUT
        config.load()
        self.lifespan = config.lifespan_class(config)


class MetricsApp:
    """Serves `/metrics` and nothing else, in OpenMetrics when asked for."""

    def __init__(self, chassis: Chassis) -> None:
        self._registry = chassis.metrics.registry
        self._tracing = chassis.tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        _, context, ids, _ = self._tracing.untraced()
        token = otel_context.attach(context)
        try:
            response = await self._respond(scope)
            response.headers["X-Trace-ID"] = ids[:32]
            await response(scope, receive, send)
        finally:
            otel_context.detach(token)

    async def _respond(self, scope: Scope) -> Response:
        if scope["path"] != METRICS_PATH:
            return error_response(scope, 404, f"Only {METRICS_PATH} is served here")
        if scope["method"] not in ("GET", "HEAD"):
            return error_response(scope, 405, headers={"Allow": "GET, HEAD"})
        encode, content_type = _encoder(Headers(scope=scope).get("accept", ""))
        # Off the loop: a thousand series take some 10 ms in which no request would be answered.
        content = await asyncio.to_thread(encode, self._registry)
        return Response(content, headers={"Content-Type": content_type})


def _encoder(accept: str) -> tuple[Callable[[CollectorRegistry], bytes], str]:
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):
        # A version that is none: the library compares it as it came.
        return choose_encoder("")


def _end_at_last(server: "DrainingServer") -> None:
    # Python waits for every thread before it exits. One that hangs, in a handler that is no coroutine, would hold the
    # exit for ever (H4), and so would a lifespan that hangs.
    server.ended.get()
    time.sleep(EXIT_SECONDS)
    logger.warning("exit_forced" if server.force_exit else "threads_abandoned")
    os._exit(server.exit_code)


def _port(server: uvicorn.Server) -> int:
    port: int = server.servers[0].sockets[0].getsockname()[1]
    return port


def _not_logged_yet(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, _LOGGED_ERRORS) or str(record.msg).startswith(_LOGGED_TEXTS))
