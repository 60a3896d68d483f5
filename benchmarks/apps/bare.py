"""FastAPI and nothing else: no log, no metrics, no middleware. What everything is compared with."""

from fastapi import FastAPI

from benchmarks.apps import routes


def create() -> FastAPI:
    app = FastAPI(lifespan=routes.lifespan)
    routes.add(app)
    return app
