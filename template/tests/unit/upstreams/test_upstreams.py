"""B8 without a network: which call is made, and what its answer means."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.container import Container
from app.upstreams.router import get_client, read_upstream
from chassis.client import DependencyClient, DependencyResponse, DependencyUnavailable
from chassis.errors import AppError


class FakeClient:
    """Answers with a status and remembers the call."""

    name = "auth-service"

    def __init__(self, status: int) -> None:
        self._status = status
        self.calls: list[tuple[str, str, dict[str, Any]]] = []

    async def request(self, method: str, path: str, **options: Any) -> DependencyResponse:
        self.calls.append((method, path, options))
        return DependencyResponse(self._status, {}, b"not to be passed on")


def answering(status: int) -> tuple[DependencyClient, FakeClient]:
    fake = FakeClient(status)
    return cast(DependencyClient, fake), fake


def holding(**dependencies: DependencyClient) -> Container:
    return cast(Container, SimpleNamespace(dependencies=dependencies))


@pytest.mark.criterion("B8")
@pytest.mark.parametrize("status", [200, 204])
async def test_a_dependency_that_says_so_is_alive(status: int) -> None:
    client, fake = answering(status)
    upstream = await read_upstream(client)
    assert upstream.model_dump() == {"dependency": "auth-service", "status": "alive"}
    assert fake.calls == [("GET", "/health/live", {"retries": 0})]


@pytest.mark.criterion("B8")
@pytest.mark.parametrize("status", [302, 401, 404, 429])
async def test_any_other_answer_means_that_it_is_not_available(status: int) -> None:
    client, _ = answering(status)
    with pytest.raises(DependencyUnavailable) as failed:
        await read_upstream(client)
    assert failed.value.details == {"code": "dependency_unavailable", "dependency": "auth-service"}


@pytest.mark.criterion("B8")
async def test_the_client_is_the_one_that_the_path_names() -> None:
    client, _ = answering(200)
    assert await get_client("auth", holding(auth=client)) is client


@pytest.mark.criterion("B8", "E5")
async def test_a_name_that_was_not_declared_is_unknown() -> None:
    with pytest.raises(AppError) as unknown:
        await get_client("auth", holding())
    assert (unknown.value.status, unknown.value.code) == (404, "dependency_unknown")
