"""One request: counted, timed, measured, logged, and told its trace id, however it ends."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from prometheus_client.openmetrics.exposition import generate_latest

from chassis.service import read

Connect = Callable[[FastAPI], AbstractAsyncContextManager[httpx2.AsyncClient]]
MakeApp = Callable[..., FastAPI]

SERVICE = read().name


def value(app: FastAPI, name: str, **labels: str) -> float | None:
    registry = app.state.chassis.metrics.registry
    sample: float | None = registry.get_sample_value(name, {"service": SERVICE, **labels})
    return sample


def statuses(app: FastAPI, path: str) -> dict[str, float]:
    """How many requests to `path` were counted, by status."""
    return {
        sample.labels["status"]: sample.value
        for metric in app.state.chassis.metrics.registry.collect()
        for sample in metric.samples
        if sample.name == "http_requests_total" and sample.labels["path"] == path
    }


@pytest.mark.criterion("E2")
@pytest.mark.parametrize("path", ["/", "/nowhere", "/failing", "/health/live", "/docs"])
async def test_every_response_has_one_trace_id(
    make_app: MakeApp, connect: Connect, path: str
) -> None:
    app = make_app()

    @app.get("/")
    async def root() -> None: ...

    @app.get("/failing")
    async def failing() -> None:
        raise RuntimeError

    async with connect(app) as client:
        first, second = [(await client.get(path)).headers.get_list("X-Trace-ID") for _ in "12"]
    assert len(first) == len(second) == 1
    assert len(bytes.fromhex(first[0])) == 16
    assert first[0] == first[0].lower() != second[0]


@pytest.mark.criterion("L4")
async def test_the_access_log_tells_everything_once(
    make_app: MakeApp, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()

    @app.post("/items/{id}")
    async def echo(id: int, request: Request) -> Any:
        return len(await request.body())

    caplog.set_level(logging.INFO, "chassis.access")
    async with connect(app) as client:
        headers = {"User-Agent": "tests/1"}
        await client.post("/items/1?token=hunter2", content=b"12345", headers=headers)
    (line,) = (r.__dict__ for r in caplog.records if r.message == "request_completed")
    assert line["duration_ms"] > 0
    expected = {
        "method": "POST",
        "path": "/items/1",
        "route": "/items/{id}",
        "status": 200,
        "request_bytes": 5,
        "response_bytes": 1,
        "client_ip": "127.0.0.1",
        "user_agent": "tests/1",
    }
    assert {name: line[name] for name in expected} == expected
    assert "hunter2" not in str(line)


@pytest.mark.criterion("E2")
async def test_a_trace_id_that_a_handler_passes_on_is_replaced(
    make_app: MakeApp, connect: Connect
) -> None:
    app = make_app()

    @app.get("/proxied")
    async def proxied(response: Response) -> None:
        response.headers["X-Trace-ID"] = "f" * 32

    async with connect(app) as client:
        answer = await client.get("/proxied")
    (trace_id,) = answer.headers.get_list("X-Trace-ID")
    assert trace_id != "f" * 32


@pytest.mark.criterion("L4")
@pytest.mark.criterion("H5")
@pytest.mark.parametrize(
    ("path", "level"),
    [("/nowhere", "INFO"), ("/failing", "ERROR"), ("/health/live", "DEBUG"), ("/busy", "ERROR")],
)
async def test_the_level_says_whose_trouble_it_is(
    make_app: MakeApp, connect: Connect, caplog: pytest.LogCaptureFixture, path: str, level: str
) -> None:
    app = make_app(request_timeout=0.05)

    @app.get("/failing")
    async def failing() -> None:
        raise RuntimeError

    @app.get("/busy")
    async def busy() -> None:
        await asyncio.Event().wait()

    caplog.set_level(logging.DEBUG, "chassis.access")
    async with connect(app) as client:
        await client.get(path)
    assert [r.levelname for r in caplog.records if r.message == "request_completed"] == [level]


@pytest.mark.criterion("M4")
async def test_sizes_are_counted_bytes_of_streams_too(make_app: MakeApp, connect: Connect) -> None:
    app = make_app()
    received: list[int] = []

    @app.post("/upload")
    async def upload(request: Request) -> StreamingResponse:
        received.extend([len(chunk) async for chunk in request.stream()])

        async def chunks() -> AsyncIterator[bytes]:
            for size in received:
                yield b"y" * 2 * size

        return StreamingResponse(chunks())

    async def body() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 100

    async with connect(app) as client:
        await client.post("/upload", content=body())
    assert received[:3] == [100, 100, 100], "nothing may collect a stream"
    assert value(app, "http_request_size_bytes_sum", method="POST") == 300
    assert value(app, "http_response_size_bytes_sum", method="POST", status="200") == 600


@pytest.mark.criterion("M4")
async def test_the_answer_to_head_has_no_bytes(make_app: MakeApp, connect: Connect) -> None:
    app = make_app()
    async with connect(app) as client:
        await client.head("/docs")
    assert value(app, "http_response_size_bytes_sum", method="HEAD", status="200") == 0


@pytest.mark.criterion("M5")
async def test_probes_are_not_counted(make_app: MakeApp, connect: Connect) -> None:
    app = make_app()
    async with connect(app) as client:
        await client.get("/health/live")
        await client.get("/health/ready")
    assert statuses(app, "/health/live") == statuses(app, "/health/ready") == {}
    assert value(app, "http_requests_in_progress", method="GET") is None


@pytest.mark.criterion("M6")
@pytest.mark.parametrize("sampler", ["always_on", "always_off"])
async def test_only_sampled_durations_have_exemplars(
    make_app: MakeApp, connect: Connect, sampler: str
) -> None:
    app = make_app(otel_traces_sampler=sampler)
    async with connect(app) as client:
        trace_id = (await client.get("/nowhere")).headers["X-Trace-ID"]
    registry = app.state.chassis.metrics.registry
    exposed = generate_latest(registry).decode()  # type: ignore[no-untyped-call]
    exemplar = f'# {{trace_id="{trace_id}"}}'
    with_exemplar = [line for line in exposed.splitlines() if exemplar in line]
    assert all(line.startswith("http_request_duration_seconds_bucket") for line in with_exemplar)
    assert len(with_exemplar) == (1 if sampler == "always_on" else 0)


@pytest.mark.criterion("M6")
async def test_metrics_are_not_served_to_callers(make_app: MakeApp, connect: Connect) -> None:
    async with connect(make_app()) as client:
        assert (await client.get("/metrics")).status_code == 404


@pytest.mark.criterion("H4")
@pytest.mark.parametrize("path", ["/nowhere", "/health/live"])
async def test_draining_closes_connections(make_app: MakeApp, connect: Connect, path: str) -> None:
    app = make_app()
    async with connect(app) as client:
        before = await client.get(path)
        app.state.chassis.lifecycle.drain()
        after = await client.get(path)
    assert "Connection" not in before.headers
    assert after.headers["Connection"] == "close"
