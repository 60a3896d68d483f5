"""A3: reading one item is cache-aside, and the cache is never a reason to fail."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from chassis.database import Database
from chassis.errors import ServiceUnavailable

MakeSettings = Callable[..., Any]
MakeClient = Callable[[Any], AbstractAsyncContextManager[Any]]


@pytest.fixture
async def client(make_settings: MakeSettings, make_client: MakeClient) -> AsyncIterator[Any]:
    async with make_client(make_settings()) as client:
        yield client


def counted(client: Any) -> Counter[tuple[str, str]]:
    families = client.app.state.chassis.metrics.registry.collect()
    return Counter(
        {
            (sample.labels["operation"], sample.labels["result"]): int(sample.value)
            for family in families
            if family.name == "cache_operations"
            for sample in family.samples
            if sample.value
        }
    )


async def create(client: Any) -> str:
    response = await client.post("/items", json={"name": uuid4().hex})
    assert response.status_code == 201
    location: str = response.headers["Location"]
    return location


@pytest.mark.criterion("A3")
async def test_the_first_read_fills_the_cache_for_the_next(client: Any) -> None:
    path = await create(client)
    first, second, third = [await client.get(path) for _ in range(3)]
    assert first.json() == second.json() == third.json()
    assert counted(client) == {("get", "miss"): 1, ("set", "hit"): 1, ("get", "hit"): 2}


@pytest.mark.criterion("A3")
async def test_a_cached_item_costs_no_database(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await create(client)
    item = (await client.get(path)).json()
    monkeypatch.delattr(type(client.app.state.container.database), "transaction")
    assert (await client.get(path)).json() == item


@pytest.mark.criterion("A3")
async def test_a_write_whose_answer_is_lost_is_seen(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server carried out the COMMIT, and the connection ended before it could say so."""
    path = await create(client)
    await client.get(path)
    transaction = Database.transaction

    @asynccontextmanager
    async def unanswered(database: Database) -> AsyncIterator[AsyncSession]:
        async with transaction(database) as session:
            yield session
        raise ServiceUnavailable("database_unavailable", "The connection was lost")

    with monkeypatch.context() as lossy:
        lossy.setattr(Database, "transaction", unanswered)
        assert (await client.delete(path)).status_code == 503
    assert (await client.get(path)).status_code == 404


@pytest.mark.criterion("A3")
async def test_writes_are_seen_at_once(client: Any) -> None:
    path = await create(client)
    await client.get(path)
    await client.patch(path, json={"description": "new"})
    assert (await client.get(path)).json()["description"] == "new"
    await client.delete(path)
    assert (await client.get(path)).status_code == 404
    assert counted(client)["delete", "hit"] == 2


@pytest.mark.criterion("A3")
async def test_a_refused_write_leaves_the_cache_alone(client: Any) -> None:
    path, other = await create(client), await create(client)
    taken = (await client.get(other)).json()["name"]
    assert (await client.patch(path, json={"name": taken})).status_code == 409
    assert counted(client)["delete", "hit"] == 0


@pytest.mark.criterion("A3")
async def test_without_redis_no_request_fails(
    make_settings: MakeSettings, make_client: MakeClient, unused_tcp_port: int
) -> None:
    settings = make_settings(redis_url=f"redis://127.0.0.1:{unused_tcp_port}/0")
    async with make_client(settings) as client:
        path = await create(client)
        statuses = [
            (await client.get(path)).status_code,
            (await client.patch(path, json={"description": "new"})).status_code,
            (await client.get(path)).status_code,
            (await client.delete(path)).status_code,
        ]
        assert statuses == [200, 200, 200, 204]
        assert set(counted(client)) == {("get", "error"), ("set", "error"), ("delete", "error")}
