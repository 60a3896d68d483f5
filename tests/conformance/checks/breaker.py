"""B: the circuit breaker, seen from both sides: what callers get and what the dependency receives."""

import time
from collections import Counter

from conformance.bench import Bench
from conformance.checks.common import body_problems, code_of
from conformance.process import eventually
from conformance.registry import check, expect, expect_all
from conformance.rig import Rig

SLOW = {"BREAKER_RECOVERY_TIMEOUT": "30"}
QUICK = {"BREAKER_RECOVERY_TIMEOUT": "1"}


async def state(rig: Rig) -> str:
    """Return the breaker's state as the metrics show it."""
    found = [
        sample.labels["state"]
        for sample in (await rig.scrape()).find("circuit_breaker_state")
        if sample.value == 1
    ]
    return found[0] if len(found) == 1 else str(found)


async def open_breaker(rig: Rig) -> None:
    """Fail calls until the breaker lets none out, and forget them."""
    rig.dependency.reset()
    rig.dependency.status = 500
    for _ in range(12):
        before = len(rig.dependency.calls)
        await rig.upstream()
        if len(rig.dependency.calls) == before:
            rig.dependency.reset()
            return
    expect(
        False, "12 failing calls in a row and every one of them went out: the breaker does not open"
    )


async def lets_out(rig: Rig) -> bool:
    """Return whether a call made now reaches the dependency."""
    before = len(rig.dependency.calls)
    await rig.upstream()
    return len(rig.dependency.calls) > before


async def close_breaker(rig: Rig) -> None:
    """Let the dependency be well and wait until the breaker believes it."""
    rig.dependency.reset()

    async def well() -> bool:
        return (await rig.upstream()).status == 200

    expect(
        await eventually(well, 6, 0.1), "the breaker does not close although the dependency is well"
    )
    rig.dependency.reset()


@check(
    "B1",
    "opens after 5 consecutive failures, or as many as configured",
    needs={"dependency"},
    own=True,
)
async def threshold(bench: Bench) -> str:
    for env, wanted in ((SLOW, 5), ({**SLOW, "BREAKER_FAILURE_THRESHOLD": "3"}, 3)):
        async with bench.fresh(env) as rig:
            rig.dependency.status = 500
            for _ in range(9):
                await rig.upstream()
            calls, shown = len(rig.dependency.calls), await state(rig)
        expect(calls == wanted, f"threshold {wanted}: the dependency got {calls} of 9 calls")
        expect(shown == "open", f"the metric says {shown}")
    return "9 failing calls: 5 went out; with a threshold of 3: 3"


@check(
    "B1",
    "opens when half of at least 10 calls failed, never consecutively",
    needs={"dependency"},
    own=True,
)
async def ratio(bench: Bench) -> str:
    async with bench.fresh(SLOW) as rig:
        rig.dependency.pattern = [500, 200] * 15
        for _ in range(30):
            await rig.upstream()
        calls = len(rig.dependency.calls)
    expect(10 <= calls <= 12, f"every second call failed: {calls} of 30 went out")
    return f"every second call failed: open after {calls} calls"


@check(
    "B1",
    "stays open for the recovery time, then closes after a good call",
    needs={"dependency"},
    own=True,
)
async def recovery(bench: Bench) -> str:
    async with bench.fresh({"BREAKER_RECOVERY_TIMEOUT": "1.5"}) as rig:
        await open_breaker(rig)
        opened = time.monotonic()
        await eventually(lambda: _goes_out(rig), 6, 0.02)
        seconds = time.monotonic() - opened
        answers = Counter([(await rig.upstream()).status for _ in range(5)])
    expect(
        1.2 <= seconds <= 4,
        f"the first call went out after {seconds:.2f} s (recovery time 1.5 s)",
    )
    expect(set(answers) == {200}, f"after a good call the others are {dict(answers)}")
    return f"first call out after {seconds:.2f} s, then closed"


async def _goes_out(rig: Rig) -> bool:
    await rig.upstream()
    return bool(rig.dependency.calls)


@check("B1", "a failed probe opens it again", needs={"dependency"}, own=True)
async def reopens(bench: Bench) -> str:
    async with bench.fresh(QUICK) as rig:
        await open_breaker(rig)
        rig.dependency.status = 500
        expect(await eventually(lambda: _goes_out(rig), 4, 0.05), "no probe goes out")
        calls = len(rig.dependency.calls)
        for _ in range(5):
            await rig.upstream()
        after = len(rig.dependency.calls)
    expect((calls, after) == (1, 1), f"{after} calls went out after a failed probe instead of 1")
    return "one probe, then none"


@check(
    "B2",
    "4xx are successes, refusals, resets, timeouts, garbage and 5xx are failures",
    needs={"dependency"},
    own=True,
)
async def failures(bench: Bench) -> str:
    env = {
        "BREAKER_RECOVERY_TIMEOUT": "1.5",
        "BREAKER_FAILURE_THRESHOLD": "3",
        "DEPENDENCY_TIMEOUT": "1",
    }
    problems = []
    async with bench.fresh(env) as rig:
        rig.dependency.status = 404
        for _ in range(15):
            await rig.upstream()
        if len(rig.dependency.calls) != 15:
            problems.append(f"15 times 404: {len(rig.dependency.calls)} calls went out")
        for kind in ("500", "503", "hang", "stall", "reset", "garbage", "refused"):
            await close_breaker(rig)
            await _set(rig, kind)
            for _ in range(3):
                answer = await rig.upstream()
            if answer.status != 503 or await state(rig) != "open":
                problems.append(
                    f"{kind}: after 3 calls the breaker is {await state(rig)}, the answer {answer.brief()}"
                )
            if kind == "refused":
                await rig.dependency.start()
    expect_all(problems)
    return "404 leaves it closed; seven kinds of failure open it"


async def _set(rig: Rig, kind: str) -> None:
    if kind.isdigit():
        rig.dependency.status = int(kind)
    elif kind == "refused":
        await rig.dependency.stop()
    else:
        rig.dependency.mode = kind  # type: ignore[assignment]


@check("B2", "callers that give up are neutral", needs={"dependency"}, own=True)
async def neutral(bench: Bench) -> str:
    async with bench.fresh({**SLOW, "DEPENDENCY_TIMEOUT": "5"}) as rig:
        rig.dependency.delay = 0.5
        for _ in range(12):
            arrived = len(rig.dependency.calls) + 1
            async with rig.client.abandoned("GET", rig.upstream_path):
                await rig.dependency.received(arrived)
        rig.dependency.delay = 0
        answers = [await rig.upstream() for _ in range(3)]
    expect(
        all(answer.status == 200 for answer in answers),
        f"after 12 callers gave up: {answers[0].brief()}",
    )
    return "12 callers gave up, the breaker is closed"


@check(
    "B4",
    "open: 503 within milliseconds, with Retry-After and nothing internal; no call goes out",
    needs={"dependency"},
    own=True,
)
async def rejection(bench: Bench) -> str:
    async with bench.fresh(SLOW) as rig:
        await open_breaker(rig)
        answers = [await rig.upstream() for _ in range(30)]
        calls = len(rig.dependency.calls)
        name, port = next(iter(rig.dependencies)), str(rig.dependency.port)
    answer = answers[-1]
    expect_all(body_problems(answer, 503))
    details = answer.object()["details"] or {}
    expect(code_of(answer) == "dependency_unavailable", f"details.code is {code_of(answer)}")
    expect(details.get("dependency") == name, f"details.dependency is {details.get('dependency')}")
    wait = answer.header("retry-after") or "missing"
    expect(wait.isdigit() and 0 < int(wait) <= 30, f"Retry-After is {wait}")
    expect(calls == 0, f"{calls} calls went out while open")
    expect_all(
        f"the answer says {word}: {answer.brief()}"
        for word in (port, "127.0.0.1", "http:", "Error")
        if word in answer.text
    )
    # What waits for something does so every time; a busy machine does not.
    fastest = min(found.seconds for found in answers) * 1000
    expect(fastest < 20, f"the fastest rejection takes {fastest:.1f} ms")
    return f"503 in {fastest:.1f} ms, Retry-After {wait}"
