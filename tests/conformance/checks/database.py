"""D: what dependency injection means from outside: transactions, connections, pools."""

import asyncio
import secrets
import time
from collections import Counter

from conformance.bench import Bench
from conformance.checks.common import body_problems, code_of, refused_statements
from conformance.process import eventually
from conformance.registry import check, expect, expect_all
from conformance.wire import Response


@check("D2", "a COMMIT that fails is a 5xx, never a 2xx, and nothing is stored", needs={"items"})
async def failing_commit(bench: Bench) -> str:
    rig = await bench.rig()
    name = f"item-{secrets.token_hex(6)}"
    async with refused_statements(rig, "refused at COMMIT", at_commit=True):
        answer = await rig.create_item(name)
    expect(answer.status >= 500, f"the client was told {answer.brief()} although the COMMIT failed")
    expect_all(body_problems(answer, 500, 503))
    listed = await rig.client.get(f"{rig.items}?limit=100")
    expect(name not in listed.text, "the item is there although its COMMIT failed")
    again = await rig.create_item(name)
    expect(again.status == 201, f"afterwards the service answers {again.brief()}")
    return f"{answer.status}, nothing stored, next request 201"


@check(
    "D2", "at most one connection per request: a pool of one serves many", needs={"items"}, own=True
)
async def one_connection(bench: Bench) -> str:
    env = {"DB_POOL_MIN_SIZE": "1", "DB_POOL_MAX_SIZE": "1"}
    async with bench.fresh(env) as rig:
        assert rig.proxy is not None
        started = time.monotonic()
        answers = await asyncio.gather(*(rig.create_item(within=15) for _ in range(30)))
        seconds = time.monotonic() - started
        statuses = Counter(answer.status for answer in answers)
        ready = await rig.client.get("/health/ready")
        opened = rig.proxy.accepted
    expect(set(statuses) == {201}, f"30 concurrent writes over a pool of one: {dict(statuses)}")
    expect(ready.status == 200, f"readiness is {ready.status}")
    expect(opened <= 4, f"{opened} database connections were opened for a pool of one")
    return f"30 concurrent writes, {opened} connections opened, {seconds:.1f} s"


@check(
    "D2",
    "a pool that stays empty is a 503 in time, not a hang; readiness does not mind",
    needs={"items"},
    own=True,
)
async def saturated(bench: Bench) -> str:
    env = {"DB_POOL_MIN_SIZE": "1", "DB_POOL_MAX_SIZE": "1", "REQUEST_TIMEOUT": "4"}
    async with bench.fresh(env) as rig:
        assert rig.postgres is not None
        await rig.new_item()
        table = (
            await rig.sql(
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname NOT LIKE '%version%' "
                "AND relnamespace = 'public'::regnamespace"
            )
        )[0]
        lock = asyncio.ensure_future(rig.sql(f'BEGIN; LOCK TABLE "{table}"; SELECT pg_sleep(12)'))
        try:
            locked = (
                "SELECT 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted "  # noqa: S608  # from its catalogue
                f"AND relation = '\"{table}\"'::regclass"
            )
            expect(await eventually(lambda: rig.sql(locked), 3, 0.1), "the table is not locked")
            started = time.monotonic()
            work = [asyncio.ensure_future(rig.create_item(within=12)) for _ in range(5)]
            await asyncio.sleep(1.5)
            ready = await rig.client.get("/health/ready")
            answers: list[Response] = await asyncio.gather(*work)
            seconds = time.monotonic() - started
        finally:
            lock.cancel()
            await asyncio.gather(lock, return_exceptions=True)
    expect_all(problem for answer in answers for problem in body_problems(answer, 503))
    expect(seconds < 6, f"the last answer came after {seconds:.1f} s (REQUEST_TIMEOUT=4)")
    expect(ready.status == 200, f"a saturated pool turns readiness to {ready.status}")
    codes = sorted({str(code_of(answer)) for answer in answers})
    return f"5 times 503 within {seconds:.1f} s ({', '.join(codes)}), readiness 200"
