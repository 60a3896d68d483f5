"""What all tests share: settings that no shell leaks into, and clients of a running application.

With `TEST_DATABASE_URL` and `TEST_REDIS_URL` set, the integration and e2e tests run on those servers as well.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from app.main import create_app
from app.settings import Settings
from chassis.configuration import load, with_dependencies

MakeSettings = Callable[..., Settings]


class Client(httpx2.AsyncClient):
    """A client of an application in this process."""

    def __init__(self, app: FastAPI) -> None:
        transport = httpx2.ASGITransport(app, raise_app_exceptions=True)
        super().__init__(transport=transport, base_url="http://test")
        self.app = app


MakeClient = Callable[[Settings], AbstractAsyncContextManager[Client]]


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in with_dependencies(Settings).model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def make_settings(tmp_path: Path) -> MakeSettings:
    """Settings with the given fields, on an embedded database of the test's own."""

    def make(**overrides: Any) -> Settings:
        if "database_url" in Settings.model_fields:
            overrides.setdefault("database_url", f"sqlite+aiosqlite:///{tmp_path}/test.db")
        return load(Settings, _env_file=None, **overrides)

    return make


@pytest.fixture
def make_client() -> MakeClient:
    """Run an application's lifespan and give a client; an exception that escapes it fails the test."""

    @asynccontextmanager
    async def open_client(settings: Settings) -> AsyncIterator[Client]:
        app = create_app(settings)
        async with app.router.lifespan_context(app), Client(app) as client:
            yield client

    return open_client
