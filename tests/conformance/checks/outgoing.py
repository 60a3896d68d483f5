"""B: outgoing calls around the breaker: the sample route, retries, the pool, time and size limits, their metrics."""

import asyncio
import time
from collections import Counter

from conformance.bench import Bench
from conformance.checks.breaker import SLOW, close_breaker
from conformance.checks.common import body_problems, code_of
from conformance.registry import NotApplicableError, check, expect, expect_all
from conformance.rig import Rig


@check(
    "B5",
    "under an outage the dependency sees at most 1.2 times the calls",
    needs={"dependency"},
    own=True,
)
async def retry_budget(bench: Bench) -> str:
    env = {"BREAKER_FAILURE_THRESHOLD": "1000", "BREAKER_RECOVERY_TIMEOUT": "0.2"}
    async with bench.fresh(env) as rig:
        rig.dependency.pattern = [500, 200, 200] * 100
        await _many(rig, 120)
        partial = len(rig.dependency.calls)
        rig.dependency.reset()
        rig.dependency.status = 503
        await _many(rig, 120)
        total = len(rig.dependency.calls)
    expect(partial <= 144, f"a third fails: 120 requests became {partial} calls")
    expect(total <= 144, f"all fail: 120 requests became {total} calls")
    return f"120 requests, a third failing: {partial} calls; all failing: {total} calls"


async def _many(rig: Rig, count: int) -> None:
    for _ in range(count // 6):
        await asyncio.gather(*(rig.upstream() for _ in range(6)))


@check("B6", "one pooled session: calls share connections", needs={"dependency"}, own=True)
async def pooled(bench: Bench) -> str:
    async with bench.fresh() as rig:
        for _ in range(30):
            expect((await rig.upstream()).status == 200, "a guarded call fails")
        one_by_one = rig.dependency.connections
        rig.dependency.delay = 0.05
        for _ in range(5):
            await asyncio.gather(*(rig.upstream() for _ in range(8)))
        together = rig.dependency.connections
    expect(one_by_one <= 2, f"30 calls one by one took {one_by_one} connections")
    expect(together <= 12, f"40 more, 8 at a time, took {together} connections in all")
    return f"30 calls over {one_by_one} connection, 40 more 8 at a time over {together}"


@check("B6", "time and size of a dependency's answer are bounded", needs={"dependency"}, own=True)
async def bounded(bench: Bench) -> str:
    measured, problems = [], []
    async with bench.fresh({"BREAKER_RECOVERY_TIMEOUT": "0.2", "DEPENDENCY_TIMEOUT": "1"}) as rig:
        for mode in ("hang", "stall", "huge"):
            await close_breaker(rig)
            rig.dependency.mode = mode
            started = time.monotonic()
            answer = await rig.upstream()
            seconds = time.monotonic() - started
            problems += [f"{mode}: {problem}" for problem in body_problems(answer, 503)]
            if seconds > 1.6:
                problems.append(f"{mode}: answered after {seconds:.1f} s (DEPENDENCY_TIMEOUT=1)")
            measured.append(f"{mode} {seconds:.2f} s")
            if mode == "huge" and rig.dependency.sent > 48 * 1024 * 1024:
                problems.append(f"huge: {rig.dependency.sent >> 20} MiB were read")
        size = rig.dependency.sent >> 10
    expect_all(problems)
    return f"503 each: {', '.join(measured)}; of the endless answer {size} KiB left the dependency"


@check(
    "B8",
    "GET /upstreams/{dependency} is one guarded call, without retries",
    needs={"dependency"},
    own=True,
)
async def sample_route(bench: Bench) -> str:
    if "{dependency}" not in (bench.description.upstreams or ""):
        raise NotApplicableError("the route is one of the service's own, not the sample's")
    async with bench.fresh() as rig:
        name = next(iter(rig.dependencies))
        good = await rig.upstream(headers={"Authorization": "Bearer conformance"})
        received = rig.dependency.calls[-1]
        calls = len(rig.dependency.calls)
        rig.dependency.status = 500
        bad = await rig.upstream()
        failed_calls = len(rig.dependency.calls) - calls
        unknown = await rig.client.get(rig.upstream_path.replace(name, "no-such-service"))
    expect(
        good.status == 200 and good.json() == {"dependency": name, "status": "alive"},
        f"well: {good.brief()}",
    )
    expect(
        (received.method, received.path) == ("GET", "/health/live"),
        f"the call was {received.method} {received.path}",
    )
    expect(calls == 1, f"{calls} calls for one request")
    expect("authorization" not in received.headers, "the caller's Authorization was forwarded")
    expect_all(f"failing: {problem}" for problem in body_problems(bad, 503))
    expect(code_of(bad) == "dependency_unavailable", f"failing: details.code is {code_of(bad)}")
    expect(
        bad.object()["details"].get("dependency") == name and bad.header("retry-after"),
        f"failing: {bad.brief()}",
    )
    expect(failed_calls == 1, f"{failed_calls} calls for one failing request: retries are on")
    expect_all(f"undeclared: {problem}" for problem in body_problems(unknown, 404))
    expect(
        code_of(unknown) == "dependency_unknown", f"undeclared: details.code is {code_of(unknown)}"
    )
    return "200 alive, 503 dependency_unavailable, 404 dependency_unknown; Authorization stays here"


@check(
    "B4",
    "one dead dependency costs the others nothing: slow calls do not block other requests",
    needs={"dependency"},
    own=True,
)
async def isolated(bench: Bench) -> str:
    async with bench.fresh({**SLOW, "DEPENDENCY_TIMEOUT": "2"}) as rig:
        rig.dependency.mode = "hang"
        stuck = [asyncio.create_task(rig.upstream()) for _ in range(60)]
        await rig.dependency.received(20)
        others = [await rig.client.get("/nothing-here") for _ in range(20)]
        statuses = Counter(answer.status for answer in await asyncio.gather(*stuck))
    slowest = max(answer.seconds for answer in others)
    expect(slowest < 0.5, f"another request took {slowest:.2f} s beside 60 hanging calls")
    expect(set(statuses) == {503}, f"the hanging calls became {dict(statuses)}")
    return f"60 hanging calls: 503; beside them the slowest request took {slowest * 1000:.0f} ms"


@check(
    "M1",
    "dependency calls are counted by HTTP code, timeout, error and circuit_open",
    needs={"dependency"},
    own=True,
)
async def dependency_metrics(bench: Bench) -> str:
    async with bench.fresh({**SLOW, "DEPENDENCY_TIMEOUT": "1"}) as rig:
        prefix = f"{bench.description.prefix}_{next(iter(rig.dependencies)).replace('-', '_')}"
        await rig.upstream()
        rig.dependency.status = 500
        await rig.upstream()
        rig.dependency.mode = "hang"
        await rig.upstream()
        rig.dependency.mode = "reset"
        await rig.upstream()
        await rig.upstream()
        await rig.upstream()
        await rig.upstream()
        scrape = await rig.scrape()
    found = {
        sample.labels["status"]: sample.value
        for sample in scrape.find(f"{prefix}_requests_total")
        if sample.value
    }
    expect(
        found == {"200": 1, "500": 1, "timeout": 1, "error": 3, "circuit_open": 1},
        f"counted as {found}",
    )
    timed = scrape.value(f"{prefix}_duration_seconds_count")
    expect(timed >= 6, f"{timed:g} calls are timed")
    return f"{found}"
