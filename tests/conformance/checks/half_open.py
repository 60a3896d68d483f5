"""B3: the half-open breaker, and results that come too late."""

import asyncio
import time
from collections import Counter

from conformance.bench import Bench
from conformance.checks.breaker import QUICK, SLOW, lets_out, open_breaker
from conformance.checks.common import body_problems
from conformance.process import eventually
from conformance.registry import check, expect, expect_all
from conformance.rig import Rig


@check("B3", "half-open: of 50 concurrent callers one goes out", needs={"dependency"}, own=True)
async def one_probe(bench: Bench) -> str:
    async with bench.fresh({**QUICK, "DEPENDENCY_TIMEOUT": "5"}) as rig:
        await open_breaker(rig)
        rig.dependency.delay = 1.2
        await asyncio.sleep(1.2)
        answers = await asyncio.gather(*(rig.upstream() for _ in range(50)))
        first = rig.dependency.calls[0].at if rig.dependency.calls else 0.0
        during = [call for call in rig.dependency.calls if call.at < first + 1.1]
        closed = await lets_out(rig)
    statuses = Counter(answer.status for answer in answers)
    expect(len(during) == 1, f"{len(during)} of 50 callers went out together")
    expect(statuses == {200: 1, 503: 49}, f"the callers got {dict(statuses)}")
    expect(closed, "the good probe does not close it")
    return "1 of 50 went out and closed it, 49 got 503"


@check(
    "B3",
    "a probe whose caller leaves or which hangs frees its place",
    needs={"dependency"},
    own=True,
)
async def lost_probe(bench: Bench) -> str:
    async with bench.fresh({**QUICK, "DEPENDENCY_TIMEOUT": "1.5"}) as rig:
        times = []
        for kind in ("caller leaves", "hangs"):
            await open_breaker(rig)
            rig.dependency.mode = "hang"
            await asyncio.sleep(1.1)
            if kind == "hangs":
                held = asyncio.create_task(rig.upstream())
                await rig.dependency.received()
                expect(rig.dependency.calls, "no probe went out after the recovery time")
                await held
            else:
                async with rig.client.abandoned("GET", rig.upstream_path):
                    await rig.dependency.received()
                expect(rig.dependency.calls, "no probe went out after the recovery time")
            rig.dependency.reset()
            started = time.monotonic()
            expect(
                await eventually(lambda: _well(rig), 6, 0.05),
                f"{kind}: no other probe within 6 s: the place is lost",
            )
            times.append(f"{kind}: next probe after {time.monotonic() - started:.1f} s")
    return "; ".join(times)


async def _well(rig: Rig) -> bool:
    return (await rig.upstream()).status == 200


@check(
    "B3",
    "a probe cancelled by the request's deadline frees its place",
    needs={"dependency"},
    own=True,
)
async def cancelled_probe(bench: Bench) -> str:
    async with bench.fresh({**QUICK, "DEPENDENCY_TIMEOUT": "20", "REQUEST_TIMEOUT": "1"}) as rig:
        await open_breaker(rig)
        rig.dependency.mode = "hang"
        await asyncio.sleep(1.1)
        answer = await rig.upstream()
        expect(len(rig.dependency.calls) == 1, f"{len(rig.dependency.calls)} probes went out")
        expect_all(body_problems(answer, 503))
        rig.dependency.reset()
        started = time.monotonic()
        expect(
            await eventually(lambda: _well(rig), 5, 0.05),
            "no other probe within 5 s: the place is lost",
        )
        seconds = time.monotonic() - started
    return f"next probe after {seconds:.1f} s (DEPENDENCY_TIMEOUT=20)"


@check(
    "B3",
    "results of an earlier state are ignored: a late success does not close it",
    needs={"dependency"},
    own=True,
)
async def late_success(bench: Bench) -> str:
    async with bench.fresh({**SLOW, "DEPENDENCY_TIMEOUT": "5"}) as rig:
        rig.dependency.delay = 1.0
        late = asyncio.create_task(rig.upstream())
        await rig.dependency.received()
        rig.dependency.delay, rig.dependency.status = 0.0, 500
        for _ in range(6):
            await rig.upstream()
        opened = not await lets_out(rig)
        answer = await late
        leaked = await lets_out(rig)
    expect(opened, "after 6 failures calls still go out")
    expect(not leaked, f"a late {answer.status} closed the open breaker")
    return "still open after a late 200"
