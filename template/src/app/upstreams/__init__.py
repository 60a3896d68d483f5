"""Sample: asks the services that this one depends on whether they are alive. README.md says how to remove it."""

from app.upstreams.router import router

__all__ = ["router"]
