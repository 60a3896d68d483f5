"""What the chassis's tests share: applications with the chassis on them, and what leaves such an application."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chassis import NATIVE_TELEMETRY_OFF, install
from chassis.configuration import load
from chassis.settings import ChassisSettings

MakeSettings = Callable[..., ChassisSettings]
MakeApp = Callable[..., FastAPI]
Connect = Callable[[FastAPI], AbstractAsyncContextManager[httpx2.AsyncClient]]


class Clock:
    """A clock that a test moves by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the developer's shell has set must not reach a test."""
    for variable in [f"{name}".upper() for name in ChassisSettings.model_fields]:
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def make_settings() -> MakeSettings:
    """Settings with the given fields; `.env` is not read."""

    def make(**overrides: Any) -> ChassisSettings:
        return load(ChassisSettings, _env_file=None, **overrides)

    return make


@pytest.fixture
def make_app(make_settings: MakeSettings) -> MakeApp:
    """An application with the chassis installed and no routes of its own."""

    def make(**overrides: Any) -> FastAPI:
        app = FastAPI(telemetry=NATIVE_TELEMETRY_OFF)
        install(app, make_settings(**overrides))
        return app

    return make


@pytest.fixture
def connect() -> Connect:
    """Run an application's lifespan and give a client; an exception that escapes the application fails the test."""

    @asynccontextmanager
    async def open_client(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
        transport = httpx2.ASGITransport(app, raise_app_exceptions=True)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://test") as client,
        ):
            yield client

    return open_client


@pytest.fixture
def record_spans() -> Callable[[FastAPI], InMemorySpanExporter]:
    """Let an application record its spans in memory."""

    def record(app: FastAPI) -> InMemorySpanExporter:
        exporter = InMemorySpanExporter()
        app.state.chassis.tracing.add_processor(SimpleSpanProcessor(exporter))
        return exporter

    return record
