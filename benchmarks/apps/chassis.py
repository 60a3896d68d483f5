"""A fresh render as it is, everything on, with the in-memory read beside its own routes."""

from fastapi import FastAPI
from starlette.routing import Route

from app.main import create_app
from app.settings import Settings
from benchmarks.apps import routes
from chassis import logging, server, service
from chassis.configuration import load


def create() -> FastAPI:
    settings = load(Settings)
    facts = service.read()
    logging.configure(
        service=facts.name,
        version=facts.version,
        environment=settings.environment,
        level=settings.log_level,
        format=settings.log_format,
    )
    app = create_app(settings)
    # In front of the sample's routes, where bare has it: FastAPI asks one route after the other.
    first = next(n for n, route in enumerate(app.routes) if not isinstance(route, Route))
    app.include_router(routes.memory)
    app.router.routes.insert(first, app.router.routes.pop())
    return app


def serve() -> int:
    return server.serve(create(), load(Settings))
