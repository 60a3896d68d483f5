"""C1, C3, C4: which pages may read the answers, on every answer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import httpx2
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from chassis.errors import ServiceUnavailable

Connect = Callable[[FastAPI], AbstractAsyncContextManager[httpx2.AsyncClient]]
ALLOWED = "https://app.example.com"
OTHER = "https://evil.example.com"
PATHS = [
    ("/good", 200),
    ("/nowhere", 404),
    ("/crash", 500),
    ("/busy", 503),
    ("/hang", 503),
    ("/large", 413),
    ("/bare/", 202),
    ("/health/live", 200),
]


async def bare_application(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI specification does not demand `headers`."""
    await send({"type": "http.response.start", "status": 202})
    await send({"type": "http.response.body"})


@pytest.fixture
async def client(
    make_app: Callable[..., FastAPI], connect: Connect
) -> AsyncIterator[httpx2.AsyncClient]:
    app = make_app(
        environment="production",
        allowed_origins=["HTTPS://App.Example.com:443"],
        max_body_bytes=1,
        request_timeout=0.05,
    )

    @app.get("/good")
    async def good() -> str:
        return "good"

    @app.get("/crash")
    async def crash() -> None:
        raise RuntimeError

    @app.get("/busy")
    async def busy() -> None:
        raise ServiceUnavailable("busy", "Try again")

    @app.get("/hang")
    async def hang() -> None:
        await asyncio.Event().wait()

    @app.get("/large")
    async def large(request: Request) -> None:
        await request.body()

    @app.get("/varies")
    async def varies(by: str) -> Response:
        return Response(headers={"Vary": by})

    app.mount("/bare", bare_application)
    async with connect(app) as client:
        yield client


async def get(client: httpx2.AsyncClient, path: str, **headers: str) -> httpx2.Response:
    content = b"too large" if path == "/large" else None
    return await client.request("GET", path, content=content, headers=headers)


def vary(response: httpx2.Response) -> list[str]:
    return [name.strip().lower() for name in response.headers.get("vary", "").split(",")]


@pytest.mark.criterion("C4")
@pytest.mark.parametrize(("path", "status"), PATHS)
class TestEveryResponse:
    async def test_may_be_read_by_an_allowed_origin(
        self, client: httpx2.AsyncClient, path: str, status: int
    ) -> None:
        response = await get(client, path, Origin=ALLOWED)

        assert response.status_code == status
        assert response.headers["access-control-allow-origin"] == ALLOWED
        assert response.headers["access-control-allow-credentials"] == "true"
        exposed = response.headers["access-control-expose-headers"].split(", ")
        assert sorted(exposed) == ["Location", "Retry-After", "X-Trace-ID"]
        assert vary(response).count("origin") == 1

    async def test_may_not_be_read_by_another(
        self, client: httpx2.AsyncClient, path: str, status: int
    ) -> None:
        response = await get(client, path, Origin=OTHER)

        assert response.status_code == status
        assert "access-control-allow-origin" not in response.headers
        assert vary(response).count("origin") == 1

    async def test_varies_by_origin_when_none_was_sent(
        self, client: httpx2.AsyncClient, path: str, status: int
    ) -> None:
        response = await get(client, path)

        assert response.status_code == status
        assert "access-control-allow-origin" not in response.headers
        assert vary(response).count("origin") == 1


@pytest.mark.criterion("C4")
@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("Accept", {"accept", "origin"}),
        ("Accept, Origin", {"accept", "origin"}),
        ("X-Origin-Region", {"x-origin-region", "origin"}),
    ],
)
async def test_what_a_response_varies_by_stays(
    client: httpx2.AsyncClient, by: str, expected: set[str]
) -> None:
    assert set(vary(await client.get("/varies", params={"by": by}))) == expected


@pytest.mark.criterion("C2", "C3")
@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.example",
        "https://app-example.com",
        "https://sub.app.example.com",
        "",
    ],
)
async def test_only_the_origin_itself_is_allowed(client: httpx2.AsyncClient, origin: str) -> None:
    response = await get(client, "/good", Origin=origin)

    assert "access-control-allow-origin" not in response.headers


async def preflight(
    client: httpx2.AsyncClient, origin: str = ALLOWED, method: str = "PUT", headers: str = ""
) -> httpx2.Response:
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    if headers:
        asked["Access-Control-Request-Headers"] = headers
    return await client.options("/good", headers=asked)


@pytest.mark.criterion("C3")
class TestPreflight:
    @pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
    async def test_allows_the_methods(self, client: httpx2.AsyncClient, method: str) -> None:
        response = await preflight(client, method=method)

        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] == ALLOWED
        assert response.headers["access-control-allow-credentials"] == "true"
        allowed = response.headers["access-control-allow-methods"].split(", ")
        assert sorted(allowed) == ["DELETE", "GET", "PATCH", "POST", "PUT"]
        assert vary(response).count("origin") == 1

    @pytest.mark.parametrize(
        "headers",
        ["authorization", "content-type", "traceparent", "X-Trace-ID", "authorization,x-trace-id"],
    )
    async def test_allows_the_headers(self, client: httpx2.AsyncClient, headers: str) -> None:
        assert (await preflight(client, headers=headers)).status_code == 200

    @pytest.mark.criterion("E1", "E2", "C4")
    @pytest.mark.parametrize(
        ("origin", "method", "headers"),
        [
            (OTHER, "PUT", ""),
            (ALLOWED, "TRACE", ""),
            (ALLOWED, "PUT", "x-api-key"),
            (OTHER, "TRACE", "x-api-key"),
        ],
    )
    async def test_is_refused_in_the_standard_body(
        self, client: httpx2.AsyncClient, origin: str, method: str, headers: str
    ) -> None:
        response = await preflight(client, origin, method, headers)

        body = response.json()
        assert response.status_code == 400
        assert list(body) == ["error", "message", "details", "trace_id"]
        assert body["trace_id"] == response.headers["x-trace-id"]
        assert response.headers["content-type"] == "application/json"
        assert int(response.headers["content-length"]) == len(response.content)
        assert vary(response).count("origin") == 1
        assert ("access-control-allow-origin" in response.headers) == (origin == ALLOWED)

    async def test_other_options_requests_are_requests(self, client: httpx2.AsyncClient) -> None:
        response = await client.options("/good", headers={"Origin": ALLOWED})

        assert response.status_code == 405
        assert response.headers["access-control-allow-origin"] == ALLOWED


@pytest.mark.criterion("C1")
async def test_development_allows_the_two_local_origins(
    make_app: Callable[..., FastAPI], connect: Connect
) -> None:
    async with connect(make_app()) as client:
        for origin in ("http://localhost:3000", "http://localhost:8080"):
            response = await get(client, "/nowhere", Origin=origin)
            assert response.headers["access-control-allow-origin"] == origin
