"""A: the sample application."""

import asyncio
import secrets
import time

from conformance.bench import Bench
from conformance.checks.common import body_problems, code_of
from conformance.counterparts.load import Load
from conformance.process import eventually
from conformance.registry import check, expect, expect_all
from conformance.rig import Rig

FIELDS = {"id", "name", "description", "created_at"}


@check("A1", "create, read, change, delete", needs={"items"})
async def life(bench: Bench) -> str:
    rig = await bench.rig()
    name = f"item-{secrets.token_hex(6)}"
    created = await rig.create_item(name)
    item = created.object()
    expect(created.status == 201 and set(item) == FIELDS, f"POST is {created.brief()}")
    path = f"{rig.items}/{item['id']}"
    location = created.header("location") or ""
    expect(location.endswith(path), f"Location is {location!r}, not {path}")
    read = await rig.client.get(path)
    expect(
        read.status == 200 and read.json() == item,
        f"GET is {read.brief()}, POST said {created.brief()}",
    )
    changed = await rig.client.request("PATCH", path, json={"description": "changed"})
    expect(changed.status == 200, f"PATCH is {changed.brief()}")
    again = await rig.client.get(path)
    expect(
        again.object() == {**item, "description": "changed"}, f"after PATCH, GET is {again.brief()}"
    )
    deleted = await rig.client.request("DELETE", path)
    gone = await rig.client.get(path)
    twice = await rig.client.request("DELETE", path)
    statuses = (deleted.status, gone.status, twice.status)
    expect(statuses == (204, 404, 404), f"DELETE, GET and DELETE again are {statuses}")
    return "201 with Location, 200, 200, 204, then 404"


@check(
    "A1",
    "stable keyset pages: nothing twice, nothing lost while items are added and deleted",
    needs={"items"},
    own=True,
)
async def pages(bench: Bench) -> str:
    async with bench.fresh() as rig:
        made = [(await rig.create_item()).object()["id"] for _ in range(23)]
        seen: list[object] = []
        cursor, count = "", 0
        while count < 12:
            page = await rig.client.get(
                f"{rig.items}?limit=5" + (f"&cursor={cursor}" if cursor else "")
            )
            expect(page.status == 200, f"a page is {page.brief()}")
            items, cursor = _page(page.object())
            seen += [item["id"] for item in items]
            count += 1
            if not cursor:
                break
            await rig.client.request("DELETE", f"{rig.items}/{items[0]['id']}")
            await rig.create_item()
        bad = [
            await rig.client.get(f"{rig.items}?{query}")
            for query in ("cursor=nonsense", "limit=0", "limit=100000")
        ]
    expect(not cursor, "the pages do not end")
    expect(len(seen) == len(set(seen)), "an item stands on two pages")
    expect(set(made) <= set(seen), f"{len(set(made) - set(seen))} items are lost between pages")
    expect_all(
        problem
        for answer in bad
        if answer.status != 200
        for problem in body_problems(answer, 422, 400)
    )
    return f"{len(seen)} items on {count} pages while others came and went"


def _page(body: dict[str, object]) -> tuple[list[dict[str, object]], str]:
    items = body.get("items")
    cursor = next((value for key, value in body.items() if "cursor" in key), None)
    expect(isinstance(items, list), f"a page has the members {sorted(body)}, no list `items`")
    assert isinstance(items, list)
    return items, str(cursor) if cursor else ""


@check(
    "A2",
    "a name that is taken is 409, an unknown id 404, also when 20 try at once",
    needs={"items"},
)
async def conflicts(bench: Bench) -> str:
    rig = await bench.rig()
    name = f"item-{secrets.token_hex(6)}"
    answers = await asyncio.gather(*(rig.create_item(name) for _ in range(20)))
    statuses = sorted(answer.status for answer in answers)
    expect(statuses == [201] + [409] * 19, f"20 at once with one name: {statuses}")
    taken = next(answer for answer in answers if answer.status == 409)
    expect(code_of(taken) == "item_name_taken", f"the 409 has the code {code_of(taken)}")
    other = await rig.new_item()
    renamed = await rig.client.request("PATCH", other, json={"name": name})
    expect(
        renamed.status == 409 and code_of(renamed) == "item_name_taken",
        f"renaming onto it is {renamed.brief()}",
    )
    unknown = f"{rig.items}/999999999"
    for method, body in (("GET", None), ("DELETE", None), ("PATCH", {"description": "x"})):
        answer = await rig.client.request(method, unknown, json=body)
        expect(
            answer.status == 404 and code_of(answer) == "item_not_found",
            f"{method} unknown is {answer.brief()}",
        )
    return "1 created, 19 times 409; 404 on GET, PATCH and DELETE"


@check("A3", "reading is cache-aside, writing invalidates", needs={"items", "cache"})
async def cache_aside(bench: Bench) -> str:
    rig = await bench.rig()
    path = await rig.new_item()
    before = await rig.scrape()
    for _ in range(3):
        await rig.client.get(path)
    after = await rig.scrape()

    def grown(result: str) -> float:
        labels = {"operation": "get", "result": result}
        return after.value("cache_operations_total", **labels) - before.value(
            "cache_operations_total", **labels
        )

    counted = grown("hit"), grown("miss")
    expect(counted == (2, 1), f"3 reads are {counted[0]:g} hits and {counted[1]:g} misses")
    await rig.client.request("PATCH", path, json={"description": "fresh"})
    read = await rig.client.get(path)
    expect(
        read.object().get("description") == "fresh",
        f"after PATCH the old item is read: {read.brief()}",
    )
    await rig.client.request("DELETE", path)
    gone = await rig.client.get(path)
    expect(gone.status == 404, f"after DELETE the cache still gives {gone.brief()}")
    return "3 reads: 1 miss, 2 hits; PATCH and DELETE are seen at once"


@check(
    "A3",
    "cache killed in the middle of a load: no request fails",
    needs={"items", "cache"},
    alone=True,
)
async def cache_killed(bench: Bench) -> str:
    async with bench.fresh() as rig:
        paths = [await rig.new_item() for _ in range(10)]
        load = Load(rig.client, lambda number: paths[number % len(paths)], rate=200)
        load.start()
        await asyncio.sleep(1)
        assert rig.redis is not None
        await rig.redis.kill()
        await asyncio.sleep(1.5)
        written = await rig.create_item()
        await rig.redis.start()
        await asyncio.sleep(0.7)
        outcome = await load.stop()
        scrape = await rig.scrape()
        hits = scrape.value("cache_operations_total", operation="get", result="hit")
        await rig.client.get(paths[0])
        back = await eventually(lambda: _hits_again(rig, paths[0], hits), 5, 0.1)
    expect_all(outcome.bad(), f"of {outcome.total} requests")
    expect(written.status == 201, f"a write while it is down is {written.brief()}")
    errors = scrape.value("cache_operations_total", result="error")
    expect(errors > 0, "no cache error was counted")
    expect(back, "the cache is not used again after it is back")
    slowest = max(outcome.seconds)
    expect(slowest < 2, f"the slowest request took {slowest:.1f} s")
    return f"{outcome.total} requests, none failed, {errors:g} counted errors, slowest {slowest * 1000:.0f} ms"


async def _hits_again(rig: Rig, path: str, before: float) -> bool:
    await rig.client.get(path)
    return (await rig.scrape()).value(
        "cache_operations_total", operation="get", result="hit"
    ) > before


@check(
    "A3",
    "a cache that hangs is a counted error and a miss, never a failed request",
    needs={"items", "cache"},
    own=True,
)
async def cache_hangs(bench: Bench) -> str:
    async with bench.fresh() as rig:
        assert rig.redis is not None
        path = await rig.new_item()
        await rig.client.get(path)
        before = await rig.scrape()
        rig.redis.pause()
        try:
            started = time.monotonic()
            answers = await asyncio.gather(*(rig.client.get(path) for _ in range(20)))
            seconds = time.monotonic() - started
            written = await rig.client.request(
                "PATCH", path, json={"description": "while it hangs"}
            )
        finally:
            rig.redis.resume()
        after = await rig.scrape()
    expect(
        {answer.status for answer in answers} == {200},
        f"reads are {sorted({a.brief() for a in answers})[:2]}",
    )
    expect(written.status == 200, f"a write is {written.brief()}")
    expect(seconds < 3, f"20 reads took {seconds:.1f} s")
    labels = {"result": "error"}
    errors = after.value("cache_operations_total", **labels) - before.value(
        "cache_operations_total", **labels
    )
    expect(errors > 0, "no cache error was counted")
    return f"20 reads in {seconds:.2f} s, all 200, {errors:g} counted errors"


@check("A4", "creating is a business operation with its own metrics", needs={"items", "metrics"})
async def business(bench: Bench) -> str:
    rig = await bench.rig()
    before = await rig.scrape()
    await rig.new_item()
    after = await rig.scrape()
    prefix = bench.description.prefix
    dependencies = tuple(
        f"{prefix}_{name.replace('-', '_')}_" for name in bench.description.dependencies
    )
    counters = {
        s.name for s in after.samples if s.name.startswith(prefix) and s.name.endswith("_total")
    }
    grown = [
        name
        for name in counters
        if not (dependencies and name.startswith(dependencies))
        and after.value(name) == before.value(name) + 1
    ]
    expect(grown, f"no {prefix}_<operation>_total grows by one; there are {sorted(counters)}")
    timed = grown[0].removesuffix("_total") + "_duration_seconds_count"
    expect(after.value(timed) == before.value(timed) + 1, f"{timed} does not grow with {grown[0]}")
    return f"{grown[0]} and its duration"
