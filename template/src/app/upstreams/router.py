"""`GET /upstreams/{dependency}`: one guarded call to a dependency (B8)."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from app.container import ContainerDep
from chassis.client import DependencyClient, DependencyUnavailable
from chassis.errors import AppError

LIVENESS = "/health/live"

router = APIRouter(prefix="/upstreams", tags=["upstreams"])


class Upstream(BaseModel):
    """A dependency that answered."""

    dependency: str
    status: Literal["alive"] = "alive"


async def get_client(dependency: str, container: ContainerDep) -> DependencyClient:
    """Provide the client of the dependency that the path names.

    Raises:
        AppError: 404 `dependency_unknown`, this service declares no such dependency.
    """
    client = container.dependencies.get(dependency)
    if client is None:
        raise AppError(404, "dependency_unknown", "This service has no dependency of that name")
    return client


@router.get("/{dependency}", summary="Ask a dependency whether it is alive")
async def read_upstream(client: Annotated[DependencyClient, Depends(get_client)]) -> Upstream:
    """Make one call to the dependency's liveness probe, without retries.

    Answers 503 `dependency_unavailable` when the call fails, when the dependency does not say that
    it is alive, and, without a call, while its circuit breaker is open.
    """
    response = await client.request("GET", LIVENESS, retries=0)
    if not 200 <= response.status < 300:
        raise DependencyUnavailable(client.name)
    return Upstream(dependency=client.name)
