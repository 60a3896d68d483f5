"""The same stack, tuned: the log in a pure ASGI middleware, and no send and receive spans."""

import logging
import time
from typing import Any

import structlog
from asgi_correlation_id import CorrelationIdMiddleware, correlation_id
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from prometheus_fastapi_instrumentator import Instrumentator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from benchmarks.apps import peers, routes

logger = structlog.get_logger()


class AccessLog:
    """One line for each request."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        await self.app(scope, receive, observed)
        headers = dict(scope["headers"])
        logger.info(
            "request_completed",
            request_id=correlation_id.get(),
            method=scope["method"],
            path=scope["path"],
            status=status,
            duration_ms=round((time.perf_counter() - started) * 1000, 3),
            client_ip=scope["client"][0],
            user_agent=headers.get(b"user-agent", b"").decode("latin-1"),
        )


def set_up_logging() -> None:
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.JSONRenderer(),
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    )


def create() -> FastAPI:
    set_up_logging()
    peers.set_up_tracing()
    app = FastAPI(lifespan=routes.lifespan)
    app.add_middleware(AccessLog)
    app.add_middleware(CorrelationIdMiddleware)
    app.add_middleware(CORSMiddleware, allow_origins=["http://localhost:3000"])
    routes.add(app)
    Instrumentator().instrument(app).expose(app, include_in_schema=False)
    FastAPIInstrumentor.instrument_app(app, exclude_spans=["send", "receive"])
    return app
