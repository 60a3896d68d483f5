"""The sketches of the seed document done literally, with what they leave open done in the obvious way.

Open are the middleware that counts and logs (`@app.middleware("http")`, as the documentation shows) and
the samplers: the standard variables.
"""

import logging
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from functools import lru_cache
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from prometheus_client import Counter, Histogram, make_asgi_app
from pydantic_settings import BaseSettings
from pythonjsonlogger.json import JsonFormatter

from benchmarks.apps import routes

SERVICE = "user-service"
BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
REQUESTS = Counter(
    "http_requests_total", "Total HTTP requests", ["service", "method", "path", "status"]
)
DURATION = Histogram(
    "http_request_duration_seconds",
    "HTTP request duration",
    ["service", "method", "path"],
    buckets=BUCKETS,
)
logger = logging.getLogger(__name__)


class Settings(BaseSettings):
    """As in the sketch, with defaults so that it starts."""

    database_url: str = routes.DATABASE
    environment: str = "development"


@lru_cache
def get_settings() -> Settings:
    return Settings()


def get_database(settings: Annotated[Settings, Depends(get_settings)]) -> str:
    return settings.database_url


def set_up_logging() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        JsonFormatter(
            "%(asctime)s %(levelname)s %(name)s %(message)s",
            rename_fields={"asctime": "timestamp", "levelname": "level"},
        )
    )
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def set_up_tracing(app: FastAPI) -> None:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    FastAPIInstrumentor.instrument_app(app)
    AioHttpClientInstrumentor().instrument()


def create() -> FastAPI:
    set_up_logging()
    app = FastAPI(lifespan=routes.lifespan, dependencies=[Depends(get_database)])

    @app.middleware("http")
    async def measure(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        started = time.perf_counter()
        response = await call_next(request)
        path = request.scope["route"].path if "route" in request.scope else request.url.path
        REQUESTS.labels(SERVICE, request.method, path, response.status_code).inc()
        DURATION.labels(SERVICE, request.method, path).observe(time.perf_counter() - started)
        return response

    @app.middleware("http")
    async def log(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        started = time.perf_counter()
        response = await call_next(request)
        logger.info(
            "request_completed",
            extra={
                "method": request.method,
                "path": request.url.path,
                "status": response.status_code,
                "duration": time.perf_counter() - started,
                "ip_address": request.client.host if request.client else None,
                "user_agent": request.headers.get("user-agent"),
            },
        )
        return response

    app.add_middleware(
        CORSMiddleware,
        allow_origins=["http://localhost:3000", "http://localhost:8080"],
        allow_credentials=True,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["Authorization", "Content-Type"],
    )

    @app.exception_handler(HTTPException)
    async def on_error(request: Request, error: HTTPException) -> JSONResponse:
        trace_id = request.headers.get("X-Trace-ID", str(uuid.uuid4()))
        content = {
            "error": HTTPStatus(error.status_code).phrase,
            "message": error.detail,
            "trace_id": trace_id,
        }
        return JSONResponse(content, error.status_code)

    app.mount("/metrics", make_asgi_app())
    routes.add(app)
    set_up_tracing(app)
    return app
