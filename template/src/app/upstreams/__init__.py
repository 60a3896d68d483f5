"""Sample: asks the services that this one depends on whether they are alive. Yours to delete."""

from app.upstreams.router import router

__all__ = ["router"]
