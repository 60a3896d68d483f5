"""The assembled application, whatever the answers were."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from app.container import Container
from app.main import create_app
from app.settings import Settings
from chassis import service
from chassis.lifecycle import Resources

MakeSettings = Callable[..., Any]
MakeClient = Callable[[Any], AbstractAsyncContextManager[Any]]
RESOURCES = {
    "database": "database_url",
    "migration": "database_url",
    "cache": "redis_url",
    "dependencies": "dependency_timeout",
}
"""What the container opens, each with a setting that there is only when it is there."""


@pytest.mark.criterion("H2")
async def test_it_becomes_ready(make_settings: MakeSettings, make_client: MakeClient) -> None:
    async with make_client(make_settings()) as client:
        response = await client.get("/health/ready")
    checks = {
        name: {"status": "healthy"}
        for name, field in (("database", "database_url"), ("cache", "redis_url"))
        if field in Settings.model_fields
    }
    assert response.status_code == 200
    assert response.json() == {"status": "ready", "checks": checks}


@pytest.mark.criterion("D1")
async def test_the_container_lives_as_long_as_the_application(
    make_settings: MakeSettings, make_client: MakeClient
) -> None:
    settings = make_settings()
    async with make_client(settings) as client:
        container = client.app.state.container
        assert isinstance(container, Container)
        assert container.settings is settings
        assert container.chassis is client.app.state.chassis


@pytest.mark.criterion("D1")
async def test_what_is_opened_is_closed_in_reverse_order(
    make_settings: MakeSettings, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    closed: list[str] = []
    push = Resources.push

    def watched(self: Resources, name: str, aclose: Callable[[], Awaitable[None]]) -> None:
        async def close() -> None:
            closed.append(name)
            await aclose()

        opened.append(name)
        push(self, name, close)

    monkeypatch.setattr(Resources, "push", watched)
    async with make_client(make_settings()):
        assert not closed
    assert {name for name, field in RESOURCES.items() if field in Settings.model_fields} <= {
        *opened
    }
    assert closed == opened[::-1]


@pytest.mark.criterion("D3")
async def test_two_applications_share_nothing(
    make_settings: MakeSettings, make_client: MakeClient
) -> None:
    settings = make_settings()
    async with make_client(settings) as one, make_client(settings) as other:
        assert one.app.state.container is not other.app.state.container
        first, second = one.app.state.chassis, other.app.state.chassis
    assert first.metrics.registry is not second.metrics.registry
    assert first.tracing.provider is not second.tracing.provider


@pytest.mark.criterion("S1")
async def test_making_it_opens_nothing(make_settings: MakeSettings) -> None:
    app = create_app(make_settings())
    assert not hasattr(app.state, "container")


@pytest.mark.criterion("E6")
async def test_the_document_names_the_service_and_no_probes(make_settings: MakeSettings) -> None:
    document = create_app(make_settings()).openapi()
    assert document["info"]["title"] == service.read().name
    assert not [path for path in document["paths"] if path.startswith("/health")]
