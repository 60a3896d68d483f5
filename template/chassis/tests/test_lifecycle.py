"""States go one way, resources are closed in reverse order, and none holds up the others."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from chassis.lifecycle import Lifecycle, Resources, State, log_failures


@pytest.mark.criterion("H4")
def test_states_go_one_way() -> None:
    lifecycle = Lifecycle()
    assert lifecycle.state is State.STARTING
    lifecycle.mark_ready()
    assert (lifecycle.state, lifecycle.draining) == (State.READY, False)
    lifecycle.drain()
    lifecycle.mark_ready()
    assert (lifecycle.state, lifecycle.draining) == (State.DRAINING, True)


def closing(name: str, closed: list[str]) -> Callable[[], Awaitable[None]]:
    async def close() -> None:
        closed.append(name)

    return close


@pytest.mark.criterion("D1")
async def test_resources_are_closed_in_reverse_order() -> None:
    closed: list[str] = []
    async with Resources() as resources:
        for name in ("database", "cache", "dependencies"):
            resources.push(name, closing(name, closed))
        assert closed == []
    assert closed == ["dependencies", "cache", "database"]


@pytest.mark.criterion("D1")
async def test_one_that_fails_or_hangs_does_not_keep_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    closed: list[str] = []

    async def fail() -> None:
        raise ConnectionError

    async def hang() -> None:
        await asyncio.Event().wait()

    caplog.set_level(logging.ERROR)
    async with asyncio.timeout(2), Resources() as resources:
        resources.push("database", closing("database", closed))
        resources.push("cache", fail)
        resources.push("dependencies", hang, timeout=0.01)
    assert closed == ["database"]
    assert [r.__dict__["resource"] for r in caplog.records] == ["dependencies", "cache"]


@pytest.mark.criterion("D1")
async def test_what_was_opened_is_closed_when_the_rest_cannot_be() -> None:
    closed: list[str] = []
    with pytest.raises(LookupError):
        async with Resources() as resources:
            resources.push("database", closing("database", closed))
            raise LookupError
    assert closed == ["database"]


@pytest.mark.criterion("L5")
@pytest.mark.parametrize("event", ["startup_failed", "shutdown_failed"])
@pytest.mark.parametrize("error", [LookupError("no"), SystemExit(2)])
async def test_why_it_does_not_start_or_stop_is_an_exception_in_the_log(
    caplog: pytest.LogCaptureFixture, event: str, error: BaseException
) -> None:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[str]:
        if event == "startup_failed":
            raise error
        yield "state"
        raise error

    with pytest.raises(type(error)):
        async with log_failures(lifespan()) as state:
            assert state == "state"
    (record,) = caplog.records
    assert (record.getMessage(), record.exc_info and record.exc_info[1]) == (event, error)


@pytest.mark.criterion("H4")
async def test_an_end_that_is_forced_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        yield

    with pytest.raises(asyncio.CancelledError):
        async with log_failures(lifespan()):
            raise asyncio.CancelledError
    assert caplog.messages == []
