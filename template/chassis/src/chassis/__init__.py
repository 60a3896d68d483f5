"""The chassis: ten improvements that every service has, each in the module of that name.

This package belongs to the template: not edited in a service, `copier update` brings it forward.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

# isort: split
# Before FastAPI, which imports OpenTelemetry.
from chassis import propagators as propagators

# isort: split
from fastapi import FastAPI
from opentelemetry import context as otel_context
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from chassis import cors, errors, health, limits, observer, service, tracer_provider
from chassis.health import Health
from chassis.lifecycle import Lifecycle, log_failures
from chassis.metrics import Metrics
from chassis.settings import ChassisSettings
from chassis.tracing import NATIVE_TELEMETRY_OFF, Tracing

__all__ = ["NATIVE_TELEMETRY_OFF", "Chassis", "install", "prepare"]


@dataclass(frozen=True, slots=True)
class Chassis:
    """What the improvements of one application share; also at `app.state.chassis`."""

    metrics: Metrics
    tracing: Tracing
    lifecycle: Lifecycle
    health: Health


def prepare(app: FastAPI, settings: ChassisSettings) -> Chassis:
    """Make what the improvements share, and end it with the application; no request notices yet.

    With it, a service that adopts the chassis turns the improvements on one by one, by the lines
    of `install`. That calls it itself.
    """
    facts = service.read()
    lifecycle = Lifecycle()
    metrics = Metrics(facts, settings.environment)
    spans = Tracing(facts, settings)
    checks = Health(lifecycle, metrics, settings.readiness_critical)
    chassis = Chassis(metrics, spans, lifecycle, checks)
    app.state.chassis = chassis
    _wrap_lifespan(app, chassis)
    return chassis


def install(app: FastAPI, settings: ChassisSettings) -> Chassis:
    """Turn the improvements on. Each line can stand alone, after `prepare`.

    Middleware runs in reverse order: the observer, installed last but for who says who the client
    is, sees everything; the error boundary is innermost, so that its answers get their CORS headers
    and are counted.
    """
    chassis = prepare(app, settings)
    errors.install(app)
    limits.install(app, settings)
    cors.install(app, settings)
    health.install(app, chassis.health, chassis.lifecycle)
    observer.install(app, chassis.metrics, chassis.tracing, chassis.lifecycle)
    tracer_provider.install_global()
    if settings.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.trusted_proxies))
    return chassis


def _wrap_lifespan(app: FastAPI, chassis: Chassis) -> None:
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        # What the application starts here, its background tasks too, finds its own tracer provider.
        token = otel_context.attach(chassis.tracing.context())
        try:
            async with log_failures(inner(app)) as state:
                yield state
        finally:
            otel_context.detach(token)
            await chassis.tracing.shutdown()

    app.router.lifespan_context = lifespan
