"""Each improvement is one line: with the lines of the page up to a row, what the row promises is there, and no more."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from conformance.description import ORIGIN, load
from conformance.rig import Rig
from tests.adoption import guide
from tests.adoption.services import BLOG, Service, with_service

LIMIT = 100


async def observed(rig: Rig) -> bool:
    """Answers name their trace."""
    return (await rig.client.get("/posts")).header("x-trace-id") is not None


async def alive(rig: Rig) -> bool:
    """The probes are there."""
    return (await rig.client.get("/health/live")).status == 200


async def standard(rig: Rig) -> bool:
    """Errors have the standard body."""
    return "trace_id" in (await rig.client.get("/nowhere")).object()


async def bounded(rig: Rig) -> bool:
    """A body over the limit is refused."""
    post = {"title": "long", "text": "x" * LIMIT}
    return (await rig.client.request("POST", "/posts", json=post)).status == 413


async def allowed(rig: Rig) -> bool:
    """The listed origin may read the answers."""
    answer = await rig.client.get("/posts", headers={"Origin": ORIGIN})
    return answer.header("access-control-allow-origin") == ORIGIN


# What a row of the page promises; None: callers notice nothing.
PROMISES: dict[str, Callable[[Rig], Awaitable[bool]] | None] = {
    "observer": observed,
    "tracer_provider": None,
    "health": alive,
    "errors": standard,
    "limits": bounded,
    "cors": allowed,
}
ROWS = [line.split(".")[0] for line in guide.improvements()]


async def kept(rig: Rig) -> list[str]:
    """Return the improvements that callers can see."""
    return [name for name, seen in PROMISES.items() if seen is not None and await seen(rig)]


def test_the_page_has_a_row_for_each() -> None:
    """And nothing here is out of date."""
    assert list(PROMISES) == ROWS


@pytest.mark.parametrize("count", range(len(ROWS) + 1))
def test_each_line_switches_on_its_own_and_nothing_else(
    count: int, adopted: Callable[[Service], Path]
) -> None:
    """In the order of the rows, at the places in the file that the page shows."""
    directory = adopted(BLOG)
    whole = (directory / "serve.py").read_text()
    on = {name: name in ROWS[:count] for name in ROWS}
    lines = [line for line in guide.composition() if on.get(line.split(".")[0], True)]
    text = guide.program().replace("from main import app", "from main import BlogService, app")
    text = text.replace(
        "app.state.settings = settings", "app.state.blog = BlogService(settings.max_posts)"
    )
    body = "".join(f"    {line}\n" for line in lines)
    step = text.replace("    parts = chassis.prepare(app, settings)\n    return app\n", body)
    assert body in step
    (directory / "serve.py").write_text(step)
    try:
        seen = with_service(load(directory / "conformance.toml"), kept, MAX_BODY_BYTES=str(LIMIT))
    finally:
        (directory / "serve.py").write_text(whole)
    assert seen == [name for name in ROWS[:count] if PROMISES[name] is not None]
