"""B3, B4 and B8 through the whole application, with a real server as the dependency."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import httpx2
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from fastapi import FastAPI

from chassis import service
from chassis.client import Dependencies

FACTS = service.read()
NAME = next(iter(FACTS.dependencies))
PATH = f"/upstreams/{NAME}"


class Dependency:
    """Answers with `status`, once `gate` is open; keeps the headers of every call."""

    def __init__(self) -> None:
        self.status = 200
        self.received: list[tuple[str, dict[str, str]]] = []
        self.arrived = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def handle(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append((f"{request.method} {request.path}", headers))
        self.arrived.set()
        await self.gate.wait()
        return web.Response(status=self.status, text="internal: hunter2")


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def server() -> AsyncIterator[tuple[Dependency, str]]:
    dependency = Dependency()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", dependency.handle)
    async with TestServer(app) as test_server:
        yield dependency, str(test_server.make_url("/"))


@pytest.fixture
def dependency(server: tuple[Dependency, str]) -> Dependency:
    return server[0]


@pytest.fixture
async def client(
    server: tuple[Dependency, str],
    make_settings: Callable[..., Any],
    make_client: Callable[[Any], AbstractAsyncContextManager[Any]],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Any]:
    """A client of the application, whose breakers live in the time of `clock`."""
    monkeypatch.setattr(Dependencies, "open", partial(Dependencies.open, clock=clock))
    settings = make_settings(**{f"{service.snake_case(NAME)}_url": server[1]})
    async with make_client(settings) as client:
        yield client


def metric(app: FastAPI, status: str) -> float | None:
    name = f"{FACTS.metric_prefix}_{service.snake_case(NAME)}_requests_total"
    value: float | None = app.state.chassis.metrics.registry.get_sample_value(
        name, {"status": status}
    )
    return value


def assert_unavailable(response: httpx2.Response) -> None:
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) >= 1
    body = response.json()
    assert body["error"] == "Service Unavailable"
    assert body["details"] == {"code": "dependency_unavailable", "dependency": NAME}
    assert body["trace_id"] == response.headers["X-Trace-ID"]
    assert "hunter2" not in response.text


@pytest.mark.criterion("B8")
async def test_a_dependency_that_answers_is_alive(client: Any, dependency: Dependency) -> None:
    response = await client.get(PATH)
    assert response.status_code == 200
    assert response.json() == {"dependency": NAME, "status": "alive"}
    assert [call for call, _ in dependency.received] == ["GET /health/live"]
    assert metric(client.app, "200") == 1


@pytest.mark.criterion("B8")
async def test_the_callers_authorization_stays_here(client: Any, dependency: Dependency) -> None:
    await client.get(PATH, headers={"Authorization": "Bearer of-the-caller", "Cookie": "a=b"})
    ((_, headers),) = dependency.received
    assert "authorization" not in headers
    assert "cookie" not in headers


@pytest.mark.criterion("T1", "L3")
@pytest.mark.parametrize("sampled", ["00", "01"])
async def test_the_trace_goes_through(client: Any, dependency: Dependency, sampled: str) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    traceparent = f"00-{trace_id}-00f067aa0ba902b7-{sampled}"
    response = await client.get(PATH, headers={"traceparent": traceparent})
    assert response.headers["X-Trace-ID"] == trace_id
    ((_, headers),) = dependency.received
    version, sent_trace_id, span_id, flags = headers["traceparent"].split("-")
    assert (version, sent_trace_id) == ("00", trace_id)
    assert span_id != "00f067aa0ba902b7"
    assert int(flags, 16) & 1 == int(sampled)


@pytest.mark.criterion("B8", "E5")
async def test_a_name_that_was_not_declared_is_unknown(client: Any) -> None:
    response = await client.get("/upstreams/unheard-of")
    assert response.status_code == 404
    assert response.json()["details"] == {"code": "dependency_unknown"}


@pytest.mark.criterion("B4", "B8", "E5")
@pytest.mark.parametrize("status", [302, 404, 500, 503])
async def test_another_answer_is_a_503_that_tells_nothing_and_there_is_no_retry(
    client: Any, dependency: Dependency, status: int
) -> None:
    dependency.status = status
    assert_unavailable(await client.get(PATH))
    assert len(dependency.received) == 1
    assert metric(client.app, str(status)) == 1


@pytest.mark.criterion("B1", "B4")
async def test_after_five_failures_no_call_goes_out(client: Any, dependency: Dependency) -> None:
    dependency.status = 500
    for _ in range(8):
        assert_unavailable(await client.get(PATH))
    assert len(dependency.received) == 5
    assert metric(client.app, "circuit_open") == 3


@pytest.mark.criterion("H3")
async def test_an_open_breaker_does_not_fail_readiness(client: Any, dependency: Dependency) -> None:
    dependency.status = 500
    for _ in range(6):
        await client.get(PATH)
    response = await client.get("/health/ready")
    assert response.status_code == 200
    assert NAME not in response.text


@pytest.mark.criterion("B3")
async def test_of_50_concurrent_requests_one_goes_out_when_half_open(
    client: Any, dependency: Dependency, clock: Clock
) -> None:
    dependency.status = 500
    for _ in range(5):
        await client.get(PATH)
    clock.now += 30
    dependency.status = 200
    dependency.received.clear()
    dependency.arrived.clear()
    dependency.gate.clear()
    pending = {asyncio.create_task(client.get(PATH)) for _ in range(50)}
    async with asyncio.timeout(10):
        while len(pending) > 1:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                assert_unavailable(task.result())
        await dependency.arrived.wait()
    dependency.gate.set()
    assert (await pending.pop()).status_code == 200
    assert len(dependency.received) == 1
    assert (await client.get(PATH)).status_code == 200


@pytest.mark.criterion("E6")
async def test_it_is_documented(client: Any) -> None:
    document = (await client.get("/openapi.json")).json()
    operation = document["paths"]["/upstreams/{dependency}"]["get"]
    assert operation["summary"]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/Upstream"}


@pytest.mark.criterion("B8")
async def test_each_declared_dependency_has_a_breaker(client: Any) -> None:
    registry = client.app.state.chassis.metrics.registry
    states = {
        sample.labels["dependency"]
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "circuit_breaker_state"
    }
    assert states == set(FACTS.dependencies)
