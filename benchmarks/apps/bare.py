"""FastAPI and nothing else: no log, no metrics, no middleware. What everything is compared with."""

from benchmarks.apps import routes
from fastapi import FastAPI


def create() -> FastAPI:
    app = FastAPI(lifespan=routes.lifespan)
    routes.add(app)
    return app
