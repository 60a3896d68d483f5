"""H: start-up and shutdown."""

import asyncio
import signal
import time

from conformance.bench import Bench
from conformance.checks.common import body_problems
from conformance.checks.health import LIVE, READY
from conformance.counterparts.load import Load
from conformance.process import Process, eventually, slowness
from conformance.registry import check, expect, expect_all
from conformance.rig import Rig
from conformance.wire import Response, WireError

DRAIN = 2.0


def process_of(rig: Rig) -> Process:
    """Return the rig's process, which exists for every service that the suite starts."""
    assert rig.process is not None
    return rig.process


async def _targets(rig: Rig) -> list[str]:
    if "items" in rig.description.capabilities:
        return [await rig.new_item() for _ in range(5)] + [f"{rig.items}?limit=2"]
    return ["/health/live"]


async def _refused(rig: Rig) -> bool:
    try:
        async with rig.client.connection():
            return False
    except WireError:
        return True


@check(
    "H4",
    "SIGTERM under a load of 200 requests a second and more loses none",
    needs={"process"},
    alone=True,
)
async def drain_under_load(bench: Bench) -> str:
    async with bench.fresh({"DRAIN_SECONDS": str(DRAIN), "DEPENDENCY_TIMEOUT": "5"}) as rig:
        targets = await _targets(rig)
        load = Load(rig.client, lambda number: targets[number % len(targets)], rate=280, workers=24)
        load.start()
        await asyncio.sleep(2)
        sent_before = load.outcome.total
        process_of(rig).send(signal.SIGTERM)
        terminated = time.monotonic()
        unready = await eventually(lambda: _draining(rig), 1.0, 0.01)
        noticed = time.monotonic() - terminated
        slow: list[asyncio.Task[Response]] = []
        if rig.dependencies and rig.description.upstreams:
            rig.dependency.delay = DRAIN + 0.5
            slow = [asyncio.create_task(rig.upstream()) for _ in range(5)]
        await asyncio.sleep(max(0.0, DRAIN * 0.7 - noticed))
        outcome = await load.stop()
        closed = await eventually(lambda: _refused(rig), DRAIN + 3, 0.02)
        closing = time.monotonic() - terminated
        answers = await asyncio.gather(*slow, return_exceptions=True)
        code = await process_of(rig).wait(15)
    expect(
        unready is not None,
        "ready does not answer 503 within 1 s of SIGTERM while everything else goes on",
    )
    problems = list(outcome.bad())
    problems += [
        f"in flight at the end of the drain: {a!r}"
        for a in answers
        if not isinstance(a, Response) or a.status != 200
    ]
    if outcome.rate * slowness() < 200:
        problems.append(f"the load came to {outcome.rate:.0f} requests/s only")
    if not closed or closing < DRAIN * 0.9:
        problems.append(f"the listener closed after {closing:.1f} s (DRAIN_SECONDS={DRAIN:g})")
    if code != 0:
        problems.append(f"exit code {code}")
    expect_all(problems)
    during = outcome.total - sent_before
    return (
        f"{outcome.total} requests at {outcome.rate:.0f}/s, {during} of them while draining, "
        f"{len(slow)} in flight at the end: none lost; ready 503 after {noticed * 1000:.0f} ms, exit 0"
    )


async def _draining(rig: Rig) -> Response | None:
    try:
        answer = await rig.client.get(READY, within=1)
    except WireError:
        return None
    return answer if answer.status == 503 else None


@check(
    "H4",
    "draining: ready 503 with its state, live and work go on, Connection: close; exit 0",
    needs={"process"},
    own=True,
)
async def draining(bench: Bench) -> str:
    async with bench.fresh({"DRAIN_SECONDS": "1.5"}) as rig:
        await rig.client.get(READY)
        started = time.monotonic()
        process_of(rig).send(signal.SIGTERM)
        unready = await eventually(lambda: _draining(rig), 1.0, 0.01)
        expect(unready is not None, "ready does not answer 503 at once: the listener is closed")
        expect_all(body_problems(unready, 503))
        state = (unready.object()["details"] or {}).get("state")
        expect(state == "draining", f"state is {state!r}")
        others = [await rig.client.get(LIVE), await rig.client.get("/nothing-here")]
        code = await process_of(rig).wait(10)
        seconds = time.monotonic() - started
    expect(
        [answer.status for answer in others] == [200, 404],
        f"live {others[0].status}, work {others[1].status}",
    )
    expect(
        all("close" in answer.tokens("connection") for answer in [unready, *others]),
        "no Connection: close while draining",
    )
    expect(code == 0, f"exit code {code}")
    expect(1.3 < seconds < 6, f"it ended after {seconds:.1f} s (DRAIN_SECONDS=1.5)")
    return f"503 draining, live 200, work goes on, exit 0 after {seconds:.1f} s"


@check("H4", "SIGINT skips the drain, a second signal forces the end", needs={"process"}, own=True)
async def signals(bench: Bench) -> str:
    async with bench.fresh({"DRAIN_SECONDS": "20"}) as rig:
        started = time.monotonic()
        process_of(rig).send(signal.SIGINT)
        code = await process_of(rig).wait(10)
        skipped = time.monotonic() - started
    expect(code == 0, f"SIGINT: exit code {code} (DRAIN_SECONDS=20)")
    async with bench.fresh({"DRAIN_SECONDS": "20"}) as rig:
        started = time.monotonic()
        process_of(rig).send(signal.SIGTERM)
        await eventually(lambda: _draining(rig), 1.0, 0.02)
        process_of(rig).send(signal.SIGTERM)
        code = await process_of(rig).wait(8)
        forced = time.monotonic() - started
    expect(code is not None, "a second SIGTERM does not end the service")
    return f"SIGINT: exit 0 after {skipped:.1f} s; second SIGTERM: end after {forced:.1f} s"


@check(
    "H4",
    "a request that never ends is cut off after GRACEFUL_TIMEOUT, by an answer",
    needs={"dependency"},
    own=True,
)
async def graceful_limit(bench: Bench) -> str:
    env = {
        "DRAIN_SECONDS": "0",
        "GRACEFUL_TIMEOUT": "1",
        "DEPENDENCY_TIMEOUT": "30",
        "REQUEST_TIMEOUT": "30",
    }
    async with bench.fresh(env) as rig:
        rig.dependency.mode = "hang"
        stuck = asyncio.create_task(rig.upstream(within=15))
        await rig.dependency.received()
        started = time.monotonic()
        process_of(rig).send(signal.SIGTERM)
        code = await process_of(rig).wait(15)
        seconds = time.monotonic() - started
        answer = await stuck
    expect(
        code is not None and seconds < 8, f"it still ran after {seconds:.1f} s (GRACEFUL_TIMEOUT=1)"
    )
    expect_all(body_problems(answer, 503))
    return f"ended after {seconds:.1f} s with exit code {code}"


@check(
    "H4",
    "a database that is down at start-up delays readiness, not the listener",
    needs={"database"},
    own=True,
)
async def start_without_database(bench: Bench) -> str:
    async with bench.fresh(await_ready=False, own_postgres=True) as rig:
        assert rig.postgres is not None
        await process_of(rig).stop(signal.SIGINT, 5)
        rig.postgres.kill()
        await eventually(lambda: _refused_database(rig), 5)
        started = time.monotonic()
        await rig.launch()
        listening = time.monotonic() - started
        alive, unready = await rig.client.get(LIVE), await rig.client.get(READY, within=4)
        await rig.postgres.restart()
        ready = await eventually(lambda: _is_ready(rig), 15, 0.1)
    expect(alive.status == 200, f"live is {alive.brief()} while the database is down")
    expect_all(body_problems(unready, 503))
    state = (unready.object()["details"] or {}).get("state")
    expect(state in ("starting", "ready"), f"state is {state!r}")
    expect(ready, "ready does not turn 200 within 15 s of the database's return")
    return f"listens after {listening:.1f} s, ready 503 ({state}), 200 once the database is there"


async def _refused_database(rig: Rig) -> bool:
    assert rig.postgres is not None
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", rig.postgres.port)
    except OSError:
        return True
    writer.close()
    return False


async def _is_ready(rig: Rig) -> bool:
    return (await rig.client.get(READY, within=4)).status == 200


@check(
    "H4",
    "nothing is lost when the cache and the dependency are down at start-up",
    needs={"dependency", "cache"},
    own=True,
)
async def start_without_others(bench: Bench) -> str:
    async with bench.fresh() as rig:
        await process_of(rig).stop(signal.SIGINT, 5)
        assert rig.redis is not None
        await rig.redis.kill()
        for dependency in rig.dependencies.values():
            await dependency.stop()
        started = time.monotonic()
        await rig.launch()
        seconds = time.monotonic() - started
        answer = await rig.client.get(READY)
    expect(answer.status == 200, f"ready is {answer.brief()}")
    return f"ready after {seconds:.1f} s"
