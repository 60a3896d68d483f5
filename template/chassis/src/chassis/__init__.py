"""The chassis: ten improvements that every service has, each in the module of that name.

This package belongs to the template: not edited in a service, `copier update` brings it forward.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from opentelemetry import context as otel_context
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from chassis import cors, errors, health, limits, observer, service, tracer_provider
from chassis.health import Health
from chassis.lifecycle import Lifecycle
from chassis.metrics import Metrics
from chassis.settings import ChassisSettings
from chassis.tracing import NATIVE_TELEMETRY_OFF, Tracing

__all__ = ["NATIVE_TELEMETRY_OFF", "Chassis", "install"]


@dataclass(frozen=True, slots=True)
class Chassis:
    """What `install` made for one application; also at `app.state.chassis`."""

    metrics: Metrics
    tracing: Tracing
    lifecycle: Lifecycle
    health: Health


def install(app: FastAPI, settings: ChassisSettings) -> Chassis:
    """Turn the improvements on. Each line can stand alone.

    Middleware runs in reverse order: the observer, installed last, sees everything; the error
    boundary is innermost, so that its answers get their CORS headers and are counted.
    """
    facts = service.read()
    lifecycle = Lifecycle()
    metrics = Metrics(facts, settings.environment)
    spans = Tracing(facts, settings)
    checks = Health(lifecycle, metrics, settings.readiness_critical)
    chassis = Chassis(metrics, spans, lifecycle, checks)
    app.state.chassis = chassis

    errors.install(app)
    limits.install(app, settings)
    cors.install(app, settings)
    health.install(app, checks, lifecycle)
    observer.install(app, metrics, spans, lifecycle)
    tracer_provider.install_global()
    if settings.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.trusted_proxies))
    _wrap_lifespan(app, chassis)
    return chassis


def _wrap_lifespan(app: FastAPI, chassis: Chassis) -> None:
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        # What the application starts here, its background tasks too, finds its own tracer provider.
        token = otel_context.attach(chassis.tracing.context())
        try:
            async with inner(app) as state:
                yield state
        finally:
            otel_context.detach(token)
            await chassis.tracing.shutdown()

    app.router.lifespan_context = lifespan
