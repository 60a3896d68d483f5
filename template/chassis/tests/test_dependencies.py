"""B3, B6, B7, M6 and D3: the declared dependencies of an application, over real connections."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry

from chassis.client import ClientSettings, Dependencies, DependencyUnavailable
from chassis.configuration import load
from chassis.metrics import Metrics
from chassis.service import Service
from chassis.tracing import Tracing

FACTS = Service(
    name="user-service",
    description="",
    port=8001,
    version="1.2.3",
    template_version="0",
    staging_origins=(),
    dependencies={"auth-service": 8002, "billing-service": 8003},
)
OWN_VARIABLES = ("dependency_timeout", "breaker_failure_threshold", "breaker_recovery_timeout")
REQUESTS = "user_service_auth_service_requests_total"


@pytest.fixture(autouse=True)
def declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two dependencies, whatever this service's own answers and the developer's shell are."""
    for module_name in ("service", "settings", "configuration"):
        monkeypatch.setattr(f"chassis.{module_name}.read", lambda: FACTS)
    for variable in (*OWN_VARIABLES, "auth_service_url", "billing_service_url"):
        monkeypatch.delenv(variable.upper(), raising=False)


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Auth:
    """The dependency: answers with `status`, once `gate` is open."""

    def __init__(self) -> None:
        self.status = 200
        self.received: list[web.BaseRequest] = []
        self.arrived = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def handle(self, request: web.Request) -> web.Response:
        self.received.append(request)
        self.arrived.set()
        await self.gate.wait()
        return web.Response(status=self.status)


@pytest.fixture
async def auth() -> AsyncIterator[Auth]:
    yield Auth()


def real_time() -> float:
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def opened(
    auth: Auth, clock: Callable[[], float] = real_time, **overrides: Any
) -> AsyncIterator[tuple[Dependencies, Metrics]]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", auth.handle)
    async with TestServer(app) as server:
        overrides.setdefault("auth_service_url", str(server.make_url("/")))
        settings = load(ClientSettings, _env_file=None, **overrides)
        metrics = Metrics(FACTS, "development")
        dependencies = await Dependencies.open(
            settings, metrics, Tracing(FACTS, settings), clock=clock
        )
        try:
            yield dependencies, metrics
        finally:
            await dependencies.aclose()


def states(registry: CollectorRegistry) -> set[str]:
    """The states that the breaker gauge of auth-service shows as 1."""
    name = "circuit_breaker_state"
    labels = {"service": "user-service", "dependency": "auth-service"}
    return {
        state
        for state in ("closed", "open", "half_open")
        if registry.get_sample_value(name, {**labels, "state": state})
    }


def retry_after(refused: object) -> str:
    assert isinstance(refused, DependencyUnavailable)
    return refused.headers["Retry-After"]


async def fail(dependencies: Dependencies, times: int) -> None:
    for _ in range(times):
        with pytest.raises(DependencyUnavailable):
            await dependencies["auth-service"].request("GET", "/", retries=0)


async def test_there_is_a_client_for_every_declared_dependency(auth: Auth) -> None:
    async with opened(auth) as (dependencies, _):
        assert set(dependencies) == {"auth-service", "billing-service"}
        assert dependencies["billing-service"].name == "billing-service"
        assert len(dependencies) == 2
        assert dependencies.get("unheard-of") is None


async def test_a_call_names_the_service_and_forwards_nothing(auth: Auth) -> None:
    """B8: not even `Authorization`, unless it is asked for."""
    async with opened(auth) as (dependencies, _):
        client = dependencies["auth-service"]
        await client.request("GET", "/a")
        await client.request("GET", "/a", headers={"Authorization": "Bearer asked-for"})
    first, second = auth.received
    assert first.headers["User-Agent"] == "user-service/1.2.3"
    assert "Authorization" not in first.headers
    assert second.headers["Authorization"] == "Bearer asked-for"


@pytest.mark.criterion("M6", "B7")
async def test_series_start_at_zero_and_the_gauge_as_closed(auth: Auth) -> None:
    async with opened(auth) as (_, metrics):
        for status in ("timeout", "error", "circuit_open"):
            assert metrics.registry.get_sample_value(REQUESTS, {"status": status}) == 0
        assert states(metrics.registry) == {"closed"}


@pytest.mark.criterion("B1", "B7")
async def test_the_breaker_takes_its_numbers_from_the_settings(auth: Auth, clock: Clock) -> None:
    auth.status = 500
    settings = {"breaker_failure_threshold": 2, "breaker_recovery_timeout": 7}
    async with opened(auth, clock, **settings) as (dependencies, metrics):
        await fail(dependencies, 1)
        assert states(metrics.registry) == {"closed"}
        await fail(dependencies, 1)
        assert states(metrics.registry) == {"open"}
        await fail(dependencies, 3)
        assert len(auth.received) == 2
        refused = metrics.registry.get_sample_value(REQUESTS, {"status": "circuit_open"})
        assert refused == 3
        with pytest.raises(DependencyUnavailable) as unavailable:
            await dependencies["auth-service"].request("GET", "/")
        assert retry_after(unavailable.value) == "7"


@pytest.mark.criterion("D1", "D3")
async def test_breakers_of_two_dependencies_and_of_two_applications_are_apart(auth: Auth) -> None:
    auth.status = 500
    async with (
        opened(auth) as (mine, metrics),
        opened(auth) as (other, _),
    ):
        await fail(mine, 5)
        assert states(metrics.registry) == {"open"}
        auth.status = 200
        assert (await other["auth-service"].request("GET", "/")).status == 200


@pytest.mark.criterion("B7")
async def test_the_gauge_turns_half_open_without_any_caller(
    auth: Auth, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth.status = 500
    loop = asyncio.get_running_loop()
    due: list[tuple[float, Callable[[], object], Any]] = []
    call_later = loop.call_later

    def note(delay: float, callback: Callable[..., object], *args: Any, **kw: Any) -> object:
        if delay >= 60:
            due.append((delay, callback, kw.get("context")))
        return call_later(delay, callback, *args, **kw)

    async with opened(auth, clock, breaker_recovery_timeout=60) as (dependencies, metrics):
        monkeypatch.setattr(loop, "call_later", note)
        await fail(dependencies, 5)
        ((delay, callback, context),) = due
        assert context is not None, "the line would have the ids of the request that failed"
        assert not list(context)
        assert delay == pytest.approx(60, abs=0.1)
        assert states(metrics.registry) == {"open"}
        clock.advance(delay)
        callback()
        assert states(metrics.registry) == {"half_open"}


@pytest.mark.criterion("B3")
async def test_half_open_lets_one_of_50_concurrent_callers_out(auth: Auth, clock: Clock) -> None:
    auth.status = 500
    async with opened(auth, clock) as (dependencies, metrics):
        await fail(dependencies, 5)
        clock.advance(30)
        auth.status = 200
        auth.received.clear()
        auth.arrived.clear()
        auth.gate.clear()
        client = dependencies["auth-service"]
        calls = [asyncio.create_task(client.request("GET", "/")) for _ in range(50)]
        refused = await asyncio.gather(*calls[1:], return_exceptions=True)
        assert [retry_after(result) for result in refused] == ["6"] * 49
        await auth.arrived.wait()
        auth.gate.set()
        assert (await calls[0]).status == 200
        assert len(auth.received) == 1
        assert states(metrics.registry) == {"closed"}


@pytest.mark.criterion("B2", "B3")
async def test_a_probe_whose_caller_gave_up_leaves_its_place_to_the_next(
    auth: Auth, clock: Clock
) -> None:
    auth.status = 500
    async with opened(auth, clock) as (dependencies, _):
        await fail(dependencies, 5)
        clock.advance(30)
        auth.status = 200
        auth.arrived.clear()
        auth.gate.clear()
        client = dependencies["auth-service"]
        probe = asyncio.create_task(client.request("GET", "/"))
        await auth.arrived.wait()
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe
        auth.gate.set()
        assert (await client.request("GET", "/")).status == 200


@pytest.mark.criterion("B2")
async def test_an_attempt_over_its_time_is_counted_as_timeout(auth: Auth) -> None:
    auth.gate.clear()
    async with opened(auth, dependency_timeout=0.05) as (dependencies, metrics):
        await fail(dependencies, 1)
        auth.gate.set()
    assert metrics.registry.get_sample_value(REQUESTS, {"status": "timeout"}) == 1


@pytest.mark.criterion("B6")
async def test_closing_ends_the_session(auth: Auth) -> None:
    async with opened(auth) as (dependencies, _):
        client = dependencies["auth-service"]
        await client.request("GET", "/")
    with pytest.raises(RuntimeError, match="closed"):
        await client.request("GET", "/")


@pytest.mark.parametrize(("seconds", "warned"), [(30, True), (29, False)])
async def test_a_timeout_that_no_breaker_would_learn_of_is_warned_about(
    auth: Auth, caplog: pytest.LogCaptureFixture, seconds: float, warned: bool
) -> None:
    async with opened(auth, dependency_timeout=seconds):
        assert ("dependency_timeout_too_long" in caplog.messages) is warned


@pytest.mark.criterion("S4")
def test_every_variable_has_its_default_and_a_meaning() -> None:
    settings = load(ClientSettings, _env_file=None)
    assert [getattr(settings, name) for name in OWN_VARIABLES] == [5, 5, 30]
    assert all(ClientSettings.model_fields[name].description for name in OWN_VARIABLES)
