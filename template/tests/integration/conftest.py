"""Integration tests run on the embedded defaults and, where servers are given, again on those.

`TEST_DATABASE_URL` names a PostgreSQL whose user may create databases: every test gets its own.
`TEST_REDIS_URL` names a Redis; every test removes the keys that it left.
"""

import os
from collections.abc import AsyncIterator, Callable
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import pytest_asyncio

from app.settings import Settings
from chassis import service
from chassis.configuration import load

# Read before tests run: each one starts with an environment of its own.
DATABASE_URL = (
    os.environ.get("TEST_DATABASE_URL") if "database_url" in Settings.model_fields else None
)
REDIS_URL = os.environ.get("TEST_REDIS_URL") if "redis_url" in Settings.model_fields else None
BACKENDS = ("embedded", "servers") if DATABASE_URL or REDIS_URL else ("embedded",)


@pytest_asyncio.fixture(params=BACKENDS)
async def make_settings(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Callable[..., Settings]]:
    """Settings with the given fields, on a database of the test's own."""
    defaults: dict[str, Any] = {}
    if "database_url" in Settings.model_fields:
        defaults["database_url"] = f"sqlite+aiosqlite:///{tmp_path}/test.db"
    database = None
    if request.param == "servers":
        if DATABASE_URL:
            database = f"test_{uuid4().hex}"
            await _execute(f'CREATE DATABASE "{database}"')
            defaults["database_url"] = urlsplit(DATABASE_URL)._replace(path=f"/{database}").geturl()
        if REDIS_URL:
            defaults["redis_url"] = REDIS_URL

    def make(**overrides: Any) -> Settings:
        return load(Settings, _env_file=None, **{**defaults, **overrides})

    yield make
    if database:
        await _execute(f'DROP DATABASE "{database}" WITH (FORCE)')
    if "redis_url" in defaults:
        await _remove_keys()


async def _execute(statement: str) -> None:
    # By name: a service without a database has no driver, for the type checker to see either.
    asyncpg = import_module("asyncpg")
    assert DATABASE_URL is not None
    connection = await asyncpg.connect(DATABASE_URL.replace("postgresql+asyncpg:", "postgresql:"))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _remove_keys() -> None:
    redis = import_module("redis.asyncio")
    assert REDIS_URL is not None
    async with redis.Redis.from_url(REDIS_URL) as client:
        keys = [key async for key in client.scan_iter(f"{service.read().name}:*")]
        if keys:
            await client.delete(*keys)
