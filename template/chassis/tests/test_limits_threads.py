"""REQUEST_TIMEOUT where a thread works for the request, which nothing can stop."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Annotated, Any, cast

import anyio
import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.responses import Response
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.types import Message

from chassis.limits import _waits_for_thread
from chassis.service import read

MakeApp = Callable[..., FastAPI]


def add_blocking(app: FastAPI, where: str, block: Callable[[], None]) -> None:
    """Let `GET /blocking` wait for a thread in its handler, a dependency, or one task further in."""

    def dependency() -> Iterator[None]:
        block()
        yield

    async def pass_on(request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)

    if where == "dependency":

        @app.get("/blocking")
        async def depending(_: Annotated[None, Depends(dependency)]) -> None: ...

    elif where == "task":

        @app.get("/blocking")
        async def grouping() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.to_thread.run_sync, block)

    else:
        app.get("/blocking")(block)
    if where == "middleware":
        # Inside of the limits, as all middleware of a service that adopts the chassis.
        app.user_middleware.append(Middleware(BaseHTTPMiddleware, dispatch=pass_on))


@pytest.mark.criterion("E1", "M5")
@pytest.mark.parametrize("where", ["handler", "dependency", "middleware", "task"])
async def test_leaves_a_thread_its_place(make_app: MakeApp, where: str) -> None:
    """REQUEST_TIMEOUT. A thread cannot be stopped: given to the next request, its place would be taken by one more.

    The answers do not wait for it, wherever it works.
    """
    app = make_app(request_timeout=0.05)
    gate, begun = threading.Event(), []
    answered: asyncio.Queue[int] = asyncio.Queue()

    def block() -> None:
        begun.append(1)
        gate.wait(60)

    add_blocking(app, where, block)

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answered.put_nowait(message["status"])

    async def never() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/blocking"}
    scope |= {"headers": [], "query_string": b"", "scheme": "http", "http_version": "1.1"}
    try:
        requests = []
        for _ in range(2):
            wave = [asyncio.create_task(app({**scope}, never, send)) for _ in range(40)]
            async with asyncio.timeout(30):
                assert {await answered.get() for _ in wave} == {503}
            requests += wave
    finally:
        gate.set()
    async with asyncio.timeout(30):
        await asyncio.gather(*requests)
    assert 0 < len(begun) <= 40, "the size of the pool, which the first wave fills"
    assert answered.empty()
    registry, labels = app.state.chassis.metrics.registry, {"service": read().name, "method": "GET"}
    assert registry.get_sample_value("http_requests_in_progress", labels) == 0


class Knowing:
    """An awaitable that refers to the generator which awaits it."""

    def __init__(self) -> None:
        self.generator = self.generate()

    async def generate(self) -> AsyncIterator[None]:
        await self
        yield

    def __await__(self) -> Generator[None]:
        return cast("Generator[None]", self)

    def __next__(self) -> None: ...


async def test_it_follows_nobody_in_circles() -> None:
    """At the expiry of a request, the event loop would stand still for ever."""
    knowing = Knowing()

    async def handle() -> None:
        await anext(knowing.generator)

    task = asyncio.create_task(handle())
    await asyncio.sleep(0)
    assert not _waits_for_thread(task)
    task.cancel()
