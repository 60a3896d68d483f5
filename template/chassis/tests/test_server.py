"""The process around the application: two listeners, and a drain before the end."""

import asyncio
import gc
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from starlette.types import Scope

from chassis import server as chassis_server
from chassis.lifecycle import State
from chassis.server import DrainingServer, MetricsApp

MakeApp = Callable[..., FastAPI]
MakeSettings = Callable[..., Any]
LIMIT = 10.0


class Running:
    """A server in this process; signals are what a test says."""

    def __init__(self, server: DrainingServer) -> None:
        self.server = server
        self.task = asyncio.create_task(server._serve())

    @property
    def port(self) -> int:
        return chassis_server._port(self.server)

    @property
    def metrics_port(self) -> int:
        return chassis_server._port(self.server._metrics)

    async def end(self) -> None:
        await asyncio.wait_for(asyncio.shield(self.task), LIMIT)

    def get(self, client: httpx2.AsyncClient, path: str) -> Any:
        return client.get(f"http://127.0.0.1:{self.port}{path}")


Serve = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture
def serve(make_app: MakeApp, make_settings: MakeSettings) -> Serve:
    """Serve an application on free ports of the loopback interface."""

    @asynccontextmanager
    async def run(app: FastAPI | None = None, **overrides: Any) -> AsyncIterator[Running]:
        settings = make_settings(host="127.0.0.1", port=0, **overrides)
        app = app or make_app()
        chassis = app.state.chassis
        metrics = chassis_server._MetricsServer(
            chassis_server._config(MetricsApp(chassis), settings, 0)
        )
        config = chassis_server._config(app, settings, 0)
        running = Running(DrainingServer(config, chassis, settings, metrics))
        async with asyncio.timeout(LIMIT):
            while not running.server.started or running.server._metrics_task is None:
                await asyncio.sleep(0)
                if running.task.done():
                    break
        try:
            yield running
        finally:
            running.server.should_exit = running.server.force_exit = True
            await running.end()

    return run


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=LIMIT) as client:
        yield client


async def draining(running: Running) -> None:
    await asyncio.sleep(0)  # the signal is dealt with between two callbacks
    assert running.server._chassis.lifecycle.state is State.DRAINING


@pytest.mark.criterion("H4")
async def test_sigterm_drains_while_everything_goes_on(
    serve: Serve, client: httpx2.AsyncClient
) -> None:
    async with serve(drain_seconds=600) as running:
        assert (await running.get(client, "/health/ready")).status_code == 200
        running.server.handle_exit(signal.SIGTERM, None)
        await draining(running)
        ready, live = [await running.get(client, f"/health/{p}") for p in ("ready", "live")]
        assert (ready.status_code, live.status_code) == (503, 200)
        assert live.headers["Connection"] == "close"
        assert not running.task.done()


@pytest.mark.criterion("H4")
async def test_requests_in_flight_are_finished(
    make_app: MakeApp, serve: Serve, client: httpx2.AsyncClient
) -> None:
    app = make_app()
    inside, go = asyncio.Event(), asyncio.Event()

    @app.get("/slow")
    async def slow() -> str:
        inside.set()
        await go.wait()
        return "done"

    async with serve(app, drain_seconds=0) as running:
        answer = asyncio.create_task(running.get(client, "/slow"))
        await inside.wait()
        running.server.handle_exit(signal.SIGTERM, None)
        await draining(running)
        go.set()
        assert (await answer).json() == "done"
        await running.end()
    assert running.server.exit_code == 0


@pytest.mark.criterion("H4")
async def test_sigint_skips_the_drain(serve: Serve) -> None:
    async with serve(drain_seconds=600) as running:
        running.server.handle_exit(signal.SIGINT, None)
        await running.end()
    assert running.server.exit_code == 0


@pytest.mark.criterion("H4")
async def test_a_second_signal_forces(serve: Serve) -> None:
    async with serve(drain_seconds=600) as running:
        running.server.handle_exit(signal.SIGTERM, None)
        running.server.handle_exit(signal.SIGTERM, None)
        await running.end()
    assert running.server.exit_code == 128 + signal.SIGTERM


@pytest.mark.criterion("M6")
async def test_the_metrics_port_serves_metrics_and_nothing_else(
    serve: Serve, client: httpx2.AsyncClient
) -> None:
    async with serve() as running:
        await running.get(client, "/nowhere")
        base = f"http://127.0.0.1:{running.metrics_port}"
        plain = await client.get(f"{base}/metrics")
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        openmetrics = await client.get(f"{base}/metrics", headers=accept)
        head = await client.head(f"{base}/metrics")
        other = await client.get(f"{base}/health/live")
        refused = await client.post(f"{base}/metrics")
    assert plain.headers["Content-Type"].startswith("text/plain")
    assert "http_requests_total" in plain.text
    assert openmetrics.headers["Content-Type"].startswith("application/openmetrics-text")
    assert openmetrics.text.endswith("# EOF\n")
    assert (head.status_code, head.content) == (200, b"")
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD")
    assert (other.status_code, other.json()["error"]) == (404, "Not Found")
    assert other.json()["trace_id"] == other.headers["X-Trace-ID"]


async def test_garbage_is_not_looked_for_in_what_was_there_at_the_start(serve: Serve) -> None:
    """Else a full collection stops the loop for as long as it takes to look through all modules."""
    before = gc.get_freeze_count()
    async with serve():
        assert gc.get_freeze_count() > before + 10_000
    assert gc.get_freeze_count() <= before


@pytest.mark.criterion("T4")
async def test_scrapes_change_no_metric(serve: Serve, client: httpx2.AsyncClient) -> None:
    async with serve() as running:
        url = f"http://127.0.0.1:{running.metrics_port}/metrics"
        await client.get(url)
        assert "http_requests_total{" not in (await client.get(url)).text


@pytest.mark.criterion("M6")
async def test_a_version_that_is_none_gets_the_text_format(
    serve: Serve, client: httpx2.AsyncClient
) -> None:
    async with serve() as running:
        accept = {"Accept": "application/openmetrics-text; version=abc"}
        page = await client.get(f"http://127.0.0.1:{running.metrics_port}/metrics", headers=accept)
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/plain")


@pytest.mark.criterion("H4")
async def test_a_scrape_that_hangs_does_not_hold_the_end(
    serve: Serve, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = asyncio.Event()

    async def hang(self: MetricsApp, scope: Scope) -> None:
        inside.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(MetricsApp, "_respond", hang)
    async with serve(drain_seconds=0, graceful_timeout=600) as running:
        url = f"http://127.0.0.1:{running.metrics_port}/metrics"
        scrape = asyncio.create_task(client.get(url))
        await inside.wait()
        running.server.handle_exit(signal.SIGTERM, None)
        await running.end()
        await scrape


@pytest.mark.criterion("L5", "L3")
async def test_a_request_that_the_stop_cuts_off_is_logged_once(
    make_app: MakeApp, serve: Serve, client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()
    inside = asyncio.Event()

    @app.get("/slow")
    async def slow() -> None:
        inside.set()
        await asyncio.Event().wait()

    async with serve(app, drain_seconds=0, graceful_timeout=1) as running:
        answer = asyncio.create_task(running.get(client, "/slow"))
        await inside.wait()
        running.server.handle_exit(signal.SIGTERM, None)
        assert (await answer).status_code == 503
        await running.end()
    logged = [r for r in caplog.records if chassis_server._not_logged_yet(r)]
    assert [r.getMessage() for r in logged if r.exc_info] == []
    assert [r.getMessage() for r in logged if r.name == "chassis.access"] == ["request_completed"]


async def test_what_is_not_http_is_logged_once(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve() as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(b"\x16\x03\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 Bad Request\r\n")
        writer.close()
    logged = [r for r in caplog.records if chassis_server._not_logged_yet(r)]
    warnings = [record.message for record in logged if record.levelname == "WARNING"]
    assert warnings == ["invalid_http_request"]


async def test_a_port_in_use_ends_the_start_and_frees_the_other(
    make_app: MakeApp, make_settings: MakeSettings
) -> None:
    app = make_app()
    chassis = app.state.chassis
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = make_settings(host="127.0.0.1", port=port, metrics_port=0)
        metrics = chassis_server._MetricsServer(
            chassis_server._config(MetricsApp(chassis), settings, 0)
        )
        config = chassis_server._config(app, settings, port)
        with pytest.raises(SystemExit):
            await DrainingServer(config, chassis, settings, metrics)._serve()
    assert not metrics.servers[0].is_serving()
