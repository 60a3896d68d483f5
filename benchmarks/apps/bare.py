"""FastAPI and nothing else: no log, no metrics, no middleware. What everything is compared with."""

from fastapi import FastAPI

from benchmarks.apps import routes


def create() -> FastAPI:
    app = FastAPI(lifespan=routes.lifespan)
    app.include_router(routes.memory)
    app.include_router(routes.items)
    return app
