"""M: what requests do to the metrics."""

import asyncio
import json
import re
import secrets
import time
from functools import partial

from conformance.bench import Bench
from conformance.checks.common import unhandled
from conformance.process import eventually
from conformance.registry import check, expect, expect_all
from conformance.rig import Rig
from conformance.scrape import Scrape
from conformance.wire import Connection

REQUESTS = "http_requests_total"
PATHS = 5000
METHODS = [
    "PROPFIND",
    "MKCOL",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "SEARCH",
    "PURGE",
    "REPORT",
    "SUBSCRIBE",
]
INVENTED = [f"X{secrets.token_hex(3).upper()}" for _ in range(10)]


async def counted(rig: Rig, before: Scrape, within: float = 3.0, **labels: str) -> float:
    """Return by how much the request counter with these labels has grown, once it has grown or the time is up."""

    async def growth() -> float:
        return (await rig.scrape()).value(REQUESTS, **labels) - before.value(REQUESTS, **labels)

    return float(await eventually(growth, within, 0.05))


def _template(base: str) -> re.Pattern[str]:
    return re.compile(re.escape(base) + r"/\{\w+\}$")


@check(
    "M2",
    "path is __unmatched__ for whatever matches no route, unknown methods are _OTHER",
    needs={"metrics"},
)
async def unmatched(bench: Bench) -> str:
    rig = await bench.rig()
    word = secrets.token_hex(4)
    before = await rig.scrape()
    origin = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "POST"}
    await rig.client.get(f"/nothing-{word}")
    await rig.client.request("OPTIONS", f"/nothing-{word}", headers=origin)
    await rig.client.request("PROPFIND", f"/nothing-{word}")
    problems = []
    for method in ("GET", "OPTIONS", "_OTHER"):
        grown = await counted(
            rig, before, 1.0, method=method, path="__unmatched__", service=bench.description.name
        )
        if grown != 1:
            problems.append(f"{method} to an unknown path adds {grown:g} to path=__unmatched__")
    after = await rig.scrape()
    problems += [
        f"the path itself is a label: {s.labels}"
        for s in after.find(REQUESTS)
        if word in str(s.labels)
    ]
    expect_all(problems)
    return "404, preflight and PROPFIND counted as __unmatched__, PROPFIND as _OTHER"


@check("M2", "path is the full route template, for 2xx, 404, 405, 413 and 422", needs={"items"})
async def templates(bench: Bench) -> str:
    rig = await bench.rig()
    items = rig.items
    path = await rig.new_item()
    before = await rig.scrape()
    large = b'{"name":"' + b"x" * (2 * 1024 * 1024) + b'"}'
    json_type = {"Content-Type": "application/json"}
    requests = [
        ("GET", path, b"", 200, _template(items)),
        ("GET", f"{items}/999999999", b"", 404, _template(items)),
        ("DELETE", items, b"", 405, re.compile(re.escape(items) + "$")),
        ("POST", items, b'{"name": 7}', 422, re.compile(re.escape(items) + "$")),
        ("POST", items, large, 413, re.compile(re.escape(items) + "$")),
        ("GET", f"{items}/", b"", 307, re.compile("__unmatched__$")),
    ]
    problems = []
    for method, target, body, status, wanted in requests:
        answer = await rig.client.request(method, target, headers=json_type, body=body)
        if status == 404 and answer.status == 422:
            status = 422
        if target.endswith("/") and answer.status in (404, 200, 308):
            status = answer.status
        if answer.status != status:
            problems.append(f"{method} {target} is {answer.brief()}, not {status}")
            continue
        if not await eventually(partial(_grew, rig, before, method, status, wanted), 1.5, 0.05):
            problems.append(
                f"{method} {target} ({status}) is not counted under path={wanted.pattern}"
            )
    expect_all(problems)
    return f"{len(requests)} kinds of answers under their templates"


async def _grew(rig: Rig, before: Scrape, method: str, status: int, path: re.Pattern[str]) -> bool:
    labels = {"method": method, "status": str(status)}
    old = sum(
        s.value for s in before.find(REQUESTS, **labels) if path.match(s.labels.get("path", ""))
    )
    new = sum(
        s.value
        for s in (await rig.scrape()).find(REQUESTS, **labels)
        if path.match(s.labels.get("path", ""))
    )
    return new == old + 1


@check(
    "M3",
    "5,000 random paths and 20 invented methods add at most a handful of series",
    needs={"metrics"},
    alone=True,
)
async def cardinality(bench: Bench) -> str:
    rig = await bench.rig()
    for method in ("GET", "POST", METHODS[0], INVENTED[0]):
        await rig.client.request(method, "/nothing-here")
    before = await rig.scrape()
    methods = ["GET", "POST"] * 20 + METHODS + INVENTED
    todo = iter(range(PATHS))
    started = time.monotonic()

    async def work() -> None:
        connection: Connection | None = None
        try:
            for number in todo:
                if connection is not None and not connection.reusable:
                    connection.close()
                    connection = None
                if connection is None:
                    connection = rig.client.connection()
                    await connection.open()
                start = rig.items if number % 4 == 0 else ""
                await connection.request(
                    secrets.choice(methods), f"{start}/{secrets.token_urlsafe(9)}/{number}"
                )
        finally:
            if connection is not None:
                connection.close()

    await asyncio.gather(*(work() for _ in range(6)))
    seconds = time.monotonic() - started
    after = await rig.scrape()
    added = after.series - before.series
    expect(added <= 10, f"{added} new series after {PATHS} random paths ({after.series} in all)")
    paths = {sample.labels.get("path") for sample in after.find(REQUESTS)}
    methods_seen = {sample.labels.get("method") for sample in after.find(REQUESTS)}
    expect(len(methods_seen) <= 10, f"methods {sorted(map(str, methods_seen))[:12]}")
    return f"{added} new series, {len(paths)} paths, {len(methods_seen)} methods; {PATHS / seconds:.0f} requests/s"


@check("M4", "sizes are counted bytes, not Content-Length", needs={"items", "metrics"})
async def sizes(bench: Bench) -> str:
    rig = await bench.rig()
    body = json.dumps({"name": f"item-{secrets.token_hex(6)}", "description": "d" * 700}).encode()
    pieces = [body[place : place + 100] for place in range(0, len(body), 100)]
    before = await rig.scrape()
    headers = {"Content-Type": "application/json"}
    answer = await rig.client.request("POST", rig.items, headers=headers, body=iter(pieces))
    expect(answer.status == 201, f"a chunked body without a length is {answer.brief()}")
    await counted(rig, before, method="POST", status="201")
    after = await rig.scrape()

    def grown(name: str) -> float:
        return after.value(name, method="POST") - before.value(name, method="POST")

    taken, given = grown("http_request_size_bytes_sum"), grown("http_response_size_bytes_sum")
    expect(taken == len(body), f"a chunked body of {len(body)} bytes is counted as {taken:g}")
    expect(
        given == len(answer.body), f"an answer of {len(answer.body)} bytes is counted as {given:g}"
    )
    return f"{len(body)} bytes in (chunked), {len(answer.body)} bytes out"


@check(
    "M5",
    "unhandled errors count as 500, probes are not counted, the gauge returns to 0",
    needs={"items"},
)
async def errors_counted(bench: Bench) -> str:
    rig = await bench.rig()
    before = await rig.scrape()
    await unhandled(rig)
    expect(
        await counted(rig, before, status="500") == 1, "the unhandled error is not counted as a 500"
    )
    await _idle(rig)
    before = await rig.scrape()
    for _ in range(5):
        await rig.client.get("/health/live")
        await rig.client.get("/health/ready")
    grown = (await rig.scrape()).value(REQUESTS) - before.value(REQUESTS)
    expect(grown == 0, f"10 probes add {grown:g} to {REQUESTS}")
    return "one 500, no probe, nothing in progress"


@check("M5", "probes are not counted", needs={"metrics"})
async def probes_uncounted(bench: Bench) -> str:
    rig = await bench.rig()
    before = await rig.scrape()
    for path in ("/health/live", "/health/ready"):
        await rig.client.get(path)
    grown = (await rig.scrape()).value(REQUESTS) - before.value(REQUESTS)
    expect(grown == 0, f"2 probes add {grown:g} to {REQUESTS}")
    return "nothing added"


@check(
    "M5", "a disconnect seen before the response is 499, the gauge returns to 0", needs={"items"}
)
async def disconnects(bench: Bench) -> str:
    rig = await bench.rig()
    before = await rig.scrape()
    head = f"POST {rig.items} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 200\r\n\r\n"
    for _ in range(3):
        async with rig.client.connection() as connection:
            await connection.send(head.encode() + b'{"name": "half a b')
            await asyncio.sleep(0.1)
    await eventually(lambda: _three(rig, before), 4, 0.05)
    grown = await counted(rig, before, 0.1, status="499")
    expect(
        grown == 3, f"3 callers that left in the middle of their body add {grown:g} to status=499"
    )
    await _idle(rig)
    return "3 left in the middle of their body: 3 times 499, nothing in progress"


@check(
    "M5",
    "callers that leave while the service works leave nothing in progress",
    needs={"dependency"},
)
async def abandoned(bench: Bench) -> str:
    rig = await bench.rig()
    before = await rig.scrape()
    rig.dependency.reset()
    rig.dependency.delay = 0.6
    for _ in range(3):
        arrived = len(rig.dependency.calls) + 1
        async with rig.client.abandoned("GET", rig.upstream_path):
            await rig.dependency.received(arrived)
    await eventually(lambda: _counted_three(rig, before), 4, 0.05)
    rig.dependency.reset()
    statuses = {
        s.labels["status"]
        for s in (await rig.scrape()).find(REQUESTS)
        if "upstreams" in str(s.labels)
    }
    await _idle(rig)
    return f"3 callers left, counted as {', '.join(sorted(statuses))}, nothing in progress"


async def _counted_three(rig: Rig, before: Scrape) -> bool:
    return await counted(rig, before, 0.0) >= 3


async def _three(rig: Rig, before: Scrape) -> bool:
    return await counted(rig, before, 0.0, status="499") == 3


async def _idle(rig: Rig) -> None:
    async def idle() -> bool:
        scrape = await rig.scrape()
        found = list(scrape.find("http_requests_in_progress"))
        return bool(found) and all(sample.value == 0 for sample in found)

    expect(
        await eventually(idle, 3, 0.05),
        "http_requests_in_progress does not return to 0, or is missing",
    )
