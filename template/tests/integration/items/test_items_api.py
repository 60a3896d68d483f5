"""A1, A2 and A4 through the whole application."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import event, update

from app.items.models import Item
from chassis import service

PREFIX = service.read().metric_prefix


@pytest.fixture
async def client(
    make_settings: Callable[..., Any],
    make_client: Callable[[Any], AbstractAsyncContextManager[Any]],
) -> AsyncIterator[Any]:
    async with make_client(make_settings()) as client:
        yield client


def metric(client: Any, name: str, **labels: str) -> float:
    value: float | None = client.app.state.chassis.metrics.registry.get_sample_value(name, labels)
    return value or 0


async def create(client: Any, name: str | None = None, **fields: Any) -> dict[str, Any]:
    response = await client.post("/items", json={"name": name or uuid4().hex, **fields})
    assert response.status_code == 201, response.text
    item: dict[str, Any] = response.json()
    return item


@pytest.mark.criterion("A1")
async def test_the_life_of_an_item(client: Any) -> None:
    created = await client.post("/items", json={"name": " first ", "description": "two\nlines"})
    item = created.json()
    assert created.status_code == 201
    assert {**item, "id": None, "created_at": None} == {
        "id": None,
        "name": "first",
        "description": "two\nlines",
        "created_at": None,
    }
    assert item["created_at"].endswith("Z")
    path = created.headers["Location"]
    assert path == f"/items/{item['id']}"
    assert (await client.get(path)).json() == item

    renamed = await client.patch(path, json={"name": "second"})
    assert renamed.json() == {**item, "name": "second"}
    cleared = await client.patch(path, json={"description": None})
    assert cleared.json() == {**item, "name": "second", "description": None}
    untouched = await client.patch(path, json={})
    assert untouched.json() == cleared.json() == (await client.get(path)).json()

    deleted = await client.delete(path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert (await client.get(path)).status_code == 404


@pytest.mark.criterion("A2")
@pytest.mark.parametrize("unknown", ["6ba7b810-9dad-11d1-80b4-00c04fd430c8", "999999999"])
async def test_an_unknown_item_is_not_found(client: Any, unknown: str) -> None:
    path = f"/items/{unknown}"
    for response in (
        await client.get(path),
        await client.patch(path, json={"name": "a"}),
        await client.patch(path, json={}),
        await client.delete(path),
    ):
        assert response.status_code == 404
        assert response.json()["details"] == {"code": "item_not_found"}


@pytest.mark.criterion("A2")
async def test_of_many_who_want_a_name_one_gets_it(client: Any) -> None:
    bodies = [{"name": "wanted"}] * 10
    responses = await asyncio.gather(*(client.post("/items", json=body) for body in bodies))
    assert sorted(response.status_code for response in responses) == [201] + [409] * 9
    refused = next(response for response in responses if response.status_code == 409)
    assert refused.json()["details"] == {"code": "item_name_taken"}


@pytest.mark.criterion("A2")
async def test_a_taken_name_cannot_be_changed_to(client: Any) -> None:
    await create(client, "taken")
    item = await create(client, "free")
    response = await client.patch(f"/items/{item['id']}", json={"name": "taken"})
    assert response.status_code == 409
    assert response.json()["details"] == {"code": "item_name_taken"}
    same = await client.patch(f"/items/{item['id']}", json={"name": "free"})
    assert same.status_code == 200


async def pages(client: Any, limit: int) -> AsyncIterator[list[dict[str, Any]]]:
    parameters: dict[str, Any] = {"limit": limit}
    while True:
        page = (await client.get("/items", params=parameters)).json()
        yield page["items"]
        if page["next_cursor"] is None:
            return
        parameters["cursor"] = page["next_cursor"]


@pytest.mark.criterion("A1")
async def test_pages_do_not_move_while_items_come_and_go(client: Any) -> None:
    items = [await create(client) for _ in range(7)]
    seen = []
    async for page in pages(client, limit=2):
        seen += page
        await create(client)
        await client.delete(f"/items/{page[0]['id']}")
    assert seen == items[::-1]


@pytest.mark.criterion("A1")
async def test_items_of_the_same_moment_are_neither_lost_nor_repeated(client: Any) -> None:
    moment = (await create(client))["created_at"]
    ids = {(await create(client))["id"] for _ in range(5)}
    async with client.app.state.container.database.transaction() as session:
        await session.execute(update(Item).values(created_at=datetime.fromisoformat(moment)))
    found = [item["id"] async for page in pages(client, limit=1) for item in page]
    assert len(found) == len(set(found)) == 6
    assert ids < set(found)


@pytest.mark.criterion("E3")
@pytest.mark.parametrize(
    ("parameters", "location"),
    [
        ({"cursor": "nonsense"}, "cursor"),
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "many"}, "limit"),
    ],
)
async def test_wrong_parameters_are_422(
    client: Any, parameters: dict[str, str], location: str
) -> None:
    response = await client.get("/items", params=parameters)
    assert response.status_code == 422
    (error,) = response.json()["details"]["errors"]
    assert error["loc"] == ["query", location]


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"name": ""}',
        b'{"name": null}',
        b'{"name": "a\\u0000b"}',
        b'{"name": "\\ud800"}',
        b'{"name": "a", "surprise": 1}',
    ],
)
async def test_wrong_bodies_are_422(client: Any, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    assert (await client.post("/items", content=body, headers=headers)).status_code == 422


@pytest.mark.criterion("D2")
async def test_a_commit_that_fails_is_no_success(client: Any) -> None:
    def fail(connection: Any) -> None:
        raise OSError("the COMMIT got lost")

    async with client.app.state.container.database.transaction() as session:
        engine = session.get_bind()
    event.listen(engine, "commit", fail)
    lost = await client.post("/items", json={"name": "lost"})
    event.remove(engine, "commit", fail)
    assert lost.status_code == 500
    assert "COMMIT" not in lost.text
    await create(client, "lost")


@pytest.mark.criterion("A4")
async def test_creating_is_a_business_operation(client: Any) -> None:
    for _ in range(2):
        await client.post("/items", json={"name": "same"})
    assert metric(client, f"{PREFIX}_item_create_total", result="success") == 1
    assert metric(client, f"{PREFIX}_item_create_total", result="error") == 1
    assert metric(client, f"{PREFIX}_item_create_duration_seconds_count") == 2


@pytest.mark.criterion("A4", "T7")
async def test_creating_has_a_span_around_its_statement(client: Any) -> None:
    spans = InMemorySpanExporter()
    client.app.state.chassis.tracing.add_processor(SimpleSpanProcessor(spans))
    item = await create(client)
    statement, created, request = spans.get_finished_spans()
    assert request.name == "POST /items"
    assert created.name == "create item"
    assert dict(created.attributes or {}) == {"app.item.id": item["id"]}
    assert created.parent is not None
    assert created.parent.span_id == request.context.span_id
    assert statement.parent is not None
    assert statement.parent.span_id == created.context.span_id
    assert "INSERT" in statement.name


@pytest.mark.criterion("E6")
async def test_the_document_knows_the_errors(client: Any) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert {"201", "409", "422"} <= set(paths["/items"]["post"]["responses"])
    assert {"200", "404", "409", "422"} <= set(paths["/items/{id}"]["patch"]["responses"])
    assert {"204", "404"} <= set(paths["/items/{id}"]["delete"]["responses"])
