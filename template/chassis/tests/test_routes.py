"""The route label: the full template, whatever a route was built from; else `__unmatched__`."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated

import httpx2
import pytest
from fastapi import APIRouter, Body, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Host, Match, Mount, Route
from starlette.types import ASGIApp, Scope

from chassis.routes import UNMATCHED

Connect = Callable[[FastAPI], AbstractAsyncContextManager[httpx2.AsyncClient]]
MakeApp = Callable[..., FastAPI]

ORIGIN = "http://localhost:3000"


def with_routes(app: FastAPI) -> FastAPI:
    """Every way to build a route that there is."""

    async def ok(id: int) -> int:
        return id

    async def receive(body: Annotated[dict[str, int], Body()]) -> int:
        return len(body)

    async def fail() -> None:
        raise RuntimeError

    async def never() -> None:
        await asyncio.Event().wait()

    async def plain(request: Request) -> PlainTextResponse:
        return PlainTextResponse("plain")

    items = APIRouter(prefix="/items")
    items.add_api_route("/{id}", ok)
    outer = APIRouter(prefix="/outer/{o}")
    outer.include_router(items, prefix="/nested")
    holder = APIRouter()
    holder.mount("/held/{h}", Starlette(routes=[Route("/plain/{p}", plain)]))
    app.add_api_route("/bodies", receive, methods=["POST"])
    app.add_api_route("/plain/{id}", ok)
    app.add_api_route("/failing", fail)
    app.add_api_route("/hanging", never)
    app.include_router(items, prefix="/v1")
    app.include_router(items, prefix="/v2")
    app.include_router(outer)
    app.include_router(holder, prefix="/holder/{o}")
    mounted = FastAPI()
    mounted.include_router(items, prefix="/api")
    app.mount("/mounted", mounted)
    app.mount("/tenants/{tenant}", mounted)
    inner = Mount("/inner/{i}", routes=[Route("/plain/{p}", plain)])
    app.mount("/starlette", Starlette(routes=[Route("/plain/{p}", plain), inner]))
    twice = APIRouter()
    twice.add_route("/same", plain)
    app.include_router(twice, prefix="/v1")
    app.include_router(twice, prefix="/v2")
    app.mount("/same-mounted", twice)
    app.add_route("/one/{p}", plain)
    app.add_route("/one/other", plain, methods=["POST"])
    app.mount("/hosts", Starlette(routes=[Host("test", app=PlainTextResponse("host"))]))
    app.mount("/odd", Starlette(routes=[Odd(PlainTextResponse("odd"))]))
    return app


class Odd(BaseRoute):
    """A class of somebody else's, with a path that is none."""

    path = 7

    def __init__(self, app: ASGIApp) -> None:
        self.handle = app  # type: ignore[method-assign,assignment]  # an application is all that it is

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return Match.FULL, {}


def counted(app: FastAPI) -> set[tuple[str, str, str]]:
    """(method, path, status) of all requests counted so far."""
    return {
        (sample.labels["method"], sample.labels["path"], sample.labels["status"])
        for metric in app.state.chassis.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "http_requests_total"
    }


@pytest.mark.criterion("M2")
@pytest.mark.parametrize(
    ("method", "path", "status", "template"),
    [
        ("GET", "/plain/1", 200, "/plain/{id}"),
        ("GET", "/v1/items/1", 200, "/v1/items/{id}"),
        ("GET", "/v2/items/1", 200, "/v2/items/{id}"),
        ("GET", "/outer/7/nested/items/1", 200, "/outer/{o}/nested/items/{id}"),
        ("GET", "/holder/7/held/8/plain/9", 200, "/holder/{o}/held/{h}/plain/{p}"),
        ("GET", "/mounted/api/items/1", 200, "/mounted/api/items/{id}"),
        ("GET", "/mounted/docs", 200, "/mounted/docs"),
        ("GET", "/tenants/acme/api/items/1", 200, "/tenants/{tenant}/api/items/{id}"),
        ("GET", "/starlette/plain/1", 200, "/starlette/plain/{p}"),
        ("GET", "/starlette/inner/2/plain/1", 200, "/starlette/inner/{i}/plain/{p}"),
        ("GET", "/v1/same", 200, "/v1/same"),
        ("GET", "/v2/same", 200, "/v2/same"),
        ("POST", "/v2/same", 405, "/v2/same"),
        ("GET", "/same-mounted/same", 200, UNMATCHED),
        ("GET", "/one/1", 200, "/one/{p}"),
        ("GET", "/one/other", 200, "/one/{p}"),
        ("POST", "/one/other", 200, "/one/other"),
        ("GET", "/hosts/1", 200, UNMATCHED),
        ("GET", "/odd/1", 200, UNMATCHED),
        ("GET", "/docs", 200, "/docs"),
        ("GET", "/openapi.json", 200, "/openapi.json"),
        ("POST", "/v1/items/1", 405, "/v1/items/{id}"),
        ("POST", "/mounted/api/items/1", 405, "/mounted/api/items/{id}"),
        ("POST", "/starlette/plain/1", 405, "/starlette/plain/{p}"),
        ("GET", "/v2/items/x", 422, "/v2/items/{id}"),
        ("GET", "/mounted/api/items/x", 422, "/mounted/api/items/{id}"),
        ("GET", "/failing", 500, "/failing"),
        ("GET", "/hanging", 503, "/hanging"),
        ("GET", "/v1/items/1/", 307, UNMATCHED),
        ("GET", "/nowhere/1", 404, UNMATCHED),
        ("GET", "/mounted/nowhere", 404, UNMATCHED),
        ("GET", "/starlette/nowhere", 404, UNMATCHED),
    ],
)
async def test_path_is_the_full_template(
    make_app: MakeApp, connect: Connect, method: str, path: str, status: int, template: str
) -> None:
    app = with_routes(make_app(request_timeout=0.05))
    async with connect(app) as client:
        response = await client.request(method, path)
    assert response.status_code == status
    assert counted(app) == {(method, template, str(status))}


@pytest.mark.criterion("M2")
async def test_a_body_that_is_too_large_counts_for_its_route(
    make_app: MakeApp, connect: Connect
) -> None:
    app = with_routes(make_app(max_body_bytes=10))
    async with connect(app) as client:
        await client.post("/bodies", content=b" " * 11)
    assert counted(app) == {("POST", "/bodies", "413")}


@pytest.mark.criterion("M2")
@pytest.mark.parametrize(
    ("origin", "status"), [(ORIGIN, "200"), ("http://not.allowed.example", "400")]
)
async def test_preflights_have_no_route(
    make_app: MakeApp, connect: Connect, origin: str, status: str
) -> None:
    app = with_routes(make_app())
    headers = {"Origin": origin, "Access-Control-Request-Method": "GET"}
    async with connect(app) as client:
        await client.options("/plain/1", headers=headers)
    assert counted(app) == {("OPTIONS", UNMATCHED, status)}


@pytest.mark.criterion("M2")
async def test_a_root_path_of_the_server_is_no_part_of_the_template(
    make_app: MakeApp, connect: Connect
) -> None:
    app = with_routes(make_app())
    app.root_path = "/behind/proxy"
    async with connect(app) as client:
        await client.get("/behind/proxy/mounted/api/items/1")
        await client.get("/behind/proxy/plain/1")
        await client.get("/behind/proxy/v2/same")
    assert counted(app) == {
        ("GET", "/mounted/api/items/{id}", "200"),
        ("GET", "/plain/{id}", "200"),
        ("GET", "/v2/same", "200"),
    }


@pytest.mark.criterion("M2")
async def test_invented_methods_are_one(make_app: MakeApp, connect: Connect) -> None:
    app = with_routes(make_app())
    async with connect(app) as client:
        for method in ("BREW", "PROPFIND", "get"):
            await client.send(client.build_request("GET", "/plain/1", headers={"x": "y"}))
            request = client.build_request("GET", "/plain/1")
            request.method = method
            await client.send(request)
    assert {method for method, _, _ in counted(app)} == {"GET", "_OTHER"}


@pytest.mark.criterion("M3")
async def test_random_paths_and_methods_add_a_handful_of_series(
    make_app: MakeApp, connect: Connect
) -> None:
    app = with_routes(make_app())
    async with connect(app) as client:
        for number in range(200):
            request = client.build_request("GET", f"/random/{number}")
            request.method = f"M{number % 20}"
            await client.send(request)
            await client.get(f"/tenants/t{number}/api/items/{number}")
    assert len(counted(app)) == 2


@pytest.mark.criterion("E1")
async def test_allow_names_the_methods_of_all_routes_of_the_path(
    make_app: MakeApp, connect: Connect
) -> None:
    app = with_routes(make_app())
    app.add_api_route("/plain/{id}", lambda id: id, methods=["DELETE"])
    async with connect(app) as client:
        response = await client.post("/plain/1")
    assert response.headers["Allow"] == "DELETE, GET"
