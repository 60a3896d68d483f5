"""Whether a request costs the same, and the process has the same size, after many.

python -m benchmarks.endurance COUNT
"""

import asyncio
import json
import sys
import time
from pathlib import Path

import uvloop
from fastapi import FastAPI

from benchmarks.apps import chassis
from benchmarks.inprocess import requests

SLICE = 1000


def resident_kb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


async def best(app: FastAPI) -> float:
    """CPU seconds per request of the best of ten slices."""
    taken = []
    for _ in range(10):
        before = time.process_time()
        await requests(app, SLICE)
        taken.append(time.process_time() - before)
    return min(taken) / SLICE


async def measure(count: int) -> dict[str, float]:
    app = chassis.create()
    async with app.router.lifespan_context(app):
        await requests(app, 10_000)
        first, memory = await best(app), resident_kb()
        await requests(app, count)
        last, grown = await best(app), resident_kb() - memory
    return {"first_us": first * 1e6, "last_us": last * 1e6, "grown_kb": grown}


if __name__ == "__main__":
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    print(json.dumps(runner.run(measure(int(sys.argv[1])))), file=sys.stderr)
