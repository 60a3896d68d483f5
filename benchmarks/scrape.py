"""What a scrape of a thousand series takes, and for how long it keeps the loop from its requests.

python -m benchmarks.scrape SERIES
"""

import asyncio
import json
import sys
import time
from typing import Any

import uvloop
from starlette.types import Message

from benchmarks.apps import chassis
from benchmarks.inprocess import add_series
from chassis.server import MetricsApp

SCRAPES = 20


async def beat(gaps: list[float]) -> None:
    """Note how late the loop comes back to us."""
    while True:
        before = time.perf_counter()
        await asyncio.sleep(0)
        gaps.append(time.perf_counter() - before)


async def measure(series: int) -> dict[str, float]:
    app = chassis.create()
    add_series(app, series)
    metrics = MetricsApp(app.state.chassis)
    scope = {"type": "http", "method": "GET", "path": "/metrics", "headers": []}
    size = 0

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        nonlocal size
        size = len(message.get("body", b"")) or size

    gaps: list[float] = []
    heart = asyncio.create_task(beat(gaps))
    started = time.perf_counter()
    for _ in range(SCRAPES):
        await metrics(scope, receive, send)
    each = (time.perf_counter() - started) / SCRAPES
    heart.cancel()
    return {"scrape_ms": each * 1e3, "longest_gap_ms": max(gaps) * 1e3, "bytes": size}


if __name__ == "__main__":
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    print(json.dumps(runner.run(measure(int(sys.argv[1])))), file=sys.stderr)
