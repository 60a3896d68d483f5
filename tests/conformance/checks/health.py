"""H: health probes."""

import asyncio
import time
from typing import Any

from conformance.bench import Bench
from conformance.checks.common import TRACE_ID, body_problems
from conformance.process import eventually
from conformance.registry import check, expect, expect_all
from conformance.rig import Rig
from conformance.wire import Response

LIVE, READY = "/health/live", "/health/ready"


def _states(answer: Response) -> dict[str, Any]:
    body = answer.object()
    holder = body if answer.status == 200 else body.get("details") or {}
    checks = holder.get("checks")
    return checks if isinstance(checks, dict) else {}


async def _ready(rig: Rig, status: int, within: float) -> Response | None:
    """Return readiness's first answer with that status, or None when it does not come in time."""

    async def probe() -> Response | None:
        answer = await rig.client.get(READY)
        return answer if answer.status == status else None

    found: Response | None = await eventually(probe, within, 0.05)
    return found


@check("H1", "live is 200 with its body, on the loop that serves requests")
async def live(bench: Bench) -> str:
    rig = await bench.rig()
    answer = await rig.client.get(LIVE)
    expect(
        answer.status == 200 and answer.json() == {"status": "alive"}, f"live is {answer.brief()}"
    )
    return f"200 in {answer.seconds * 1000:.1f} ms"


@check(
    "H1",
    "live does no I/O: 200 while database, cache and dependency hang",
    needs={"database"},
    own=True,
)
async def live_without_io(bench: Bench) -> str:
    async with bench.fresh() as rig:
        assert rig.proxy is not None
        rig.proxy.set("hang")
        if rig.redis:
            rig.redis.pause()
        for dependency in rig.dependencies.values():
            dependency.mode = "hang"
        answers = [await rig.client.get(LIVE, within=1) for _ in range(20)]
        if rig.redis:
            rig.redis.resume()
    expect(all(answer.status == 200 for answer in answers), "live is not 200")
    slowest = max(answer.seconds for answer in answers)
    expect(slowest < 0.3, f"live took {slowest:.2f} s")
    return f"20 probes, slowest {slowest * 1000:.1f} ms"


@check("H2", "ready is 200 with a state per check")
async def ready(bench: Bench) -> str:
    rig = await bench.rig()
    answer = await rig.client.get(READY)
    expect(answer.status == 200, f"ready is {answer.brief()}")
    body = answer.object()
    expect(
        set(body) == {"status", "checks"} and body["status"] == "ready",
        f"ready says {answer.text[:200]}",
    )
    wanted = {name for name in ("database", "cache") if getattr(bench.description, name)}
    wanted = wanted if bench.description.command else set(_states(answer))
    expect(
        body["checks"] == {name: {"status": "healthy"} for name in wanted},
        f"checks are {body['checks']}",
    )
    return f"checks: {', '.join(sorted(wanted)) or 'none'}"


@check(
    "H2",
    "database hung: ready 503 within 3 s, live 200, requests 503 in time; all well after",
    needs={"items"},
    own=True,
)
async def database_hung(bench: Bench) -> str:
    async with bench.fresh({"REQUEST_TIMEOUT": "3"}, own_postgres=True) as rig:
        assert rig.postgres is not None
        await rig.new_item()
        rig.postgres.pause()
        started = time.monotonic()
        work = asyncio.gather(
            *(rig.client.get(rig.items, within=8) for _ in range(8)), rig.create_item(within=8)
        )
        down = await _ready(rig, 503, 6)
        seconds = time.monotonic() - started
        probe_started = time.monotonic()
        probes = await asyncio.gather(*(rig.client.get(READY, within=5) for _ in range(10)))
        probe_seconds = time.monotonic() - probe_started
        alive = await rig.client.get(LIVE)
        answers = await work
        last = time.monotonic() - started
        rig.postgres.resume()
        back = await _ready(rig, 200, 8)
        again = await rig.create_item()
    expect(down is not None and seconds < 3, f"ready is not 503 within 3 s ({seconds:.1f} s)")
    assert down is not None
    expect_all(body_problems(down, 503))
    details = down.object()["details"] or {}
    expect(down.header("retry-after"), "the 503 has no Retry-After")
    expect(details.get("state") == "ready", f"state is {details.get('state')!r}")
    expect(
        _states(down).get("database") not in (None, {"status": "healthy"}),
        f"checks are {_states(down)}",
    )
    expect_all(
        f"a check tells more than its state: {state}"
        for state in _states(down).values()
        if set(state) != {"status"}
    )
    expect(
        probe_seconds < 2.5 and {p.status for p in probes} == {503},
        f"10 probes at once took {probe_seconds:.1f} s",
    )
    expect(alive.status == 200, f"live is {alive.brief()}")
    expect_all(problem for answer in answers for problem in body_problems(answer, 503))
    expect(last < 4.5, f"the last request was answered after {last:.1f} s (REQUEST_TIMEOUT=3)")
    expect(back and again.status == 201, f"afterwards ready is {back}, a request {again.brief()}")
    return f"ready 503 after {seconds:.1f} s, 9 requests 503 within {last:.1f} s, back in order"


@check(
    "H2",
    "database killed and restarted: 503 at once, recovers without a restart",
    needs={"items"},
    own=True,
)
async def database_killed(bench: Bench) -> str:
    async with bench.fresh(own_postgres=True) as rig:
        assert rig.postgres is not None
        path = await rig.new_item()
        rig.postgres.kill()
        down = await _ready(rig, 503, 3)
        failed = await rig.create_item()
        await asyncio.sleep(0.2)
        await rig.postgres.restart()
        back = await _ready(rig, 200, 5)
        read = await rig.client.get(path)
        made = await rig.create_item()
    expect(down is not None, "ready does not turn 503")
    expect_all(body_problems(failed, 503))
    expect(back is not None, "ready does not turn 200 again within 5 s")
    expect((read.status, made.status) == (200, 201), f"afterwards: {read.brief()}, {made.brief()}")
    return "503 while it is down, 200 and 201 after it is back"


@check(
    "H3",
    "a lost cache is reported and costs nothing; READINESS_CRITICAL changes that",
    needs={"cache"},
    own=True,
)
async def cache_lost(bench: Bench) -> str:
    problems = []
    for critical, wanted in ((None, 200), ("database,cache", 503)):
        async with bench.fresh({"READINESS_CRITICAL": critical}) as rig:
            assert rig.redis is not None
            await rig.redis.kill()

            async def reported(rig: Rig = rig) -> Response | None:
                answer = await rig.client.get(READY)
                return (
                    answer
                    if _states(answer).get("cache") not in (None, {"status": "healthy"})
                    else None
                )

            answer = await eventually(reported, 4, 0.05)
            if answer is None:
                problems.append(f"READINESS_CRITICAL={critical}: the lost cache is not reported")
            elif answer.status != wanted:
                problems.append(
                    f"READINESS_CRITICAL={critical}: ready is {answer.status}, not {wanted}"
                )
    expect_all(problems)
    return "200 with cache unhealthy; 503 when declared critical"


@check(
    "H3",
    "an open breaker or a dead dependency does not fail readiness",
    needs={"dependency"},
    own=True,
)
async def dependencies_not_asked(bench: Bench) -> str:
    async with bench.fresh({"BREAKER_RECOVERY_TIMEOUT": "30"}) as rig:
        asked = len(rig.dependency.calls)
        rig.dependency.status = 500
        for _ in range(8):
            await rig.upstream()
        calls = len(rig.dependency.calls)
        answers = [await rig.client.get(READY) for _ in range(5)]
        expect(len(rig.dependency.calls) == calls, "readiness calls the dependency")
    expect(asked == 0, f"the dependency was called {asked} times at start-up")
    expect({answer.status for answer in answers} == {200}, f"ready is {answers[0].brief()}")
    return "ready 200 with the breaker open, dependency not asked"


@check("H5", "probes: no-store, HEAD, X-Trace-ID, not in OpenAPI")
async def probe_manners(bench: Bench) -> str:
    rig = await bench.rig()
    problems = []
    for path in (LIVE, READY):
        answer, head = await rig.client.get(path), await rig.client.request("HEAD", path)
        if "no-store" not in answer.tokens("cache-control"):
            problems.append(f"{path}: Cache-Control is {answer.header('cache-control')}")
        if head.status != answer.status or head.body:
            problems.append(f"HEAD {path} is {head.brief()}")
        if not TRACE_ID.match(answer.header("x-trace-id") or ""):
            problems.append(f"{path}: X-Trace-ID is {answer.header('x-trace-id')}")
    if bench.description.openapi:
        document = await rig.client.get(bench.description.openapi)
        problems += [
            f"{path} is in OpenAPI"
            for path in document.object().get("paths", {})
            if path.startswith("/health")
        ]
    expect_all(problems)
    return "both probes"


@check(
    "H5",
    "probes are not logged above DEBUG; a change of state is logged once",
    needs={"cache", "logs"},
    own=True,
)
async def probe_logs(bench: Bench) -> str:
    async with bench.fresh({"LOG_LEVEL": "DEBUG"}) as rig:
        mark = await rig.mark()
        for _ in range(10):
            await rig.client.get(READY)
            await rig.client.get(LIVE)
        await rig.logged(lambda entry: entry.get("path") == LIVE, mark, 10)
        loud = [entry for entry in rig.logs(mark) if entry.get("level") != "DEBUG"]
        expect(
            not loud, f"healthy probes are logged at {[entry.get('level') for entry in loud][:3]}"
        )
        assert rig.redis is not None
        mark = await rig.mark()
        await rig.redis.kill()
        for _ in range(40):
            await rig.client.get(READY)
            await asyncio.sleep(0.05)
        changes = [
            entry for entry in rig.logs(mark) if entry.get("level") in ("WARNING", "INFO", "ERROR")
        ]
    about = [entry for entry in changes if "cache" in str(entry)]
    expect(
        len(about) == 1,
        f"the change of state is logged {len(about)} times: {[e.get('message') for e in about][:4]}",
    )
    expect(
        about[0].get("level") in ("WARNING", "INFO"),
        f"the change of state is logged at {about[0].get('level')}",
    )
    return (
        f"silent while healthy, then once: {about[0].get('message')!r} at {about[0].get('level')}"
    )
