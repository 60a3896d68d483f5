"""E: error answers."""

import asyncio
import secrets
import time

from conformance.bench import Bench
from conformance.checks.common import (
    TRACE_ID,
    body_problems,
    code_of,
    unhandled,
)
from conformance.description import ORIGIN
from conformance.registry import check, expect, expect_all
from conformance.rig import Rig
from conformance.wire import Response

LIMIT = 1024 * 1024
JSON_TYPE = {"Content-Type": "application/json"}


async def provoked(rig: Rig) -> dict[str, Response]:
    """Return an answer of each kind of error that any service can be brought to give."""
    client = rig.client
    stranger = {"Origin": "https://evil.example.org", "Access-Control-Request-Method": "POST"}
    return {
        "404": await client.get("/nothing-here"),
        "405": await client.request("POST", "/health/live"),
        "refused preflight": await client.request("OPTIONS", rig.items, headers=stranger),
    }


async def provoked_by_items(rig: Rig) -> dict[str, Response]:
    """Return an answer of each kind of error that the sample resource gives."""
    client, items = rig.client, rig.items
    name = f"item-{secrets.token_hex(6)}"
    await rig.create_item(name)
    return {
        "405": await client.request("DELETE", items),
        "409": await rig.create_item(name),
        "404 unknown item": await client.get(f"{items}/999999999"),
        "413": await client.request("POST", items, headers=JSON_TYPE, body=b"x" * (LIMIT + 1)),
        "415 or 422": await client.request(
            "POST", items, headers={"Content-Type": "text/plain"}, body=b"name"
        ),
        "422": await client.request("POST", items, json={"name": 7}),
        "bad JSON": await client.request("POST", items, headers=JSON_TYPE, body=b'{"name": '),
        "no JSON at all": await client.request(
            "POST", items, headers=JSON_TYPE, body=b"\xff\xfe\x00"
        ),
        "query": await client.get(f"{items}?limit=many"),
        "500": await unhandled(rig),
    }


@check("E1", "404, 405 and a refused preflight have the standard body")
async def standard_body(bench: Bench) -> str:
    rig = await bench.rig()
    answers = await provoked(rig)
    problems = [
        f"{kind}: {problem}"
        for kind, answer in answers.items()
        for problem in body_problems(answer)
    ]
    if "get" not in answers["405"].tokens("allow"):
        problems.append(f"405: Allow is {answers['405'].header('allow')}")
    expect_all(problems)
    return ", ".join(f"{kind} ({answer.status})" for kind, answer in answers.items())


@check("E1", "so has the answer to what is not HTTP")
async def not_http(bench: Bench) -> str:
    rig = await bench.rig()
    for bad in ("GET /\u00e9 HTTP/1.1\r\nHost: x", "GET / HTTP/1.1\r\nHost: x\r\nno colon"):
        answer = await rig.client.raw(f"{bad}\r\n\r\n".encode(), within=5)
        expect_all(f"{bad!r}: {problem}" for problem in body_problems(answer, 400))
    return "a path outside ASCII and a header without a colon are 400"


@check("E1", "so has the answer to a head over 64 KiB")
async def large_head(bench: Bench) -> str:
    rig = await bench.rig()
    head = f"GET / HTTP/1.1\r\nHost: x\r\nX-Large: {'x' * 66_000}\r\n\r\n"
    expect_all(body_problems(await rig.client.raw(head.encode(), within=5), 431))
    return "431"


@check("E1", "so have the errors of the sample resource; a 405 keeps Allow", needs={"items"})
async def standard_body_of_items(bench: Bench) -> str:
    rig = await bench.rig()
    answers = await provoked_by_items(rig)
    problems = []
    for kind, answer in answers.items():
        wanted = [int(word) for word in kind.split() if word.isdigit()]
        problems += [f"{kind}: {problem}" for problem in body_problems(answer, *wanted)]
        if not 400 <= answer.status < 600:
            problems.append(f"{kind} is {answer.brief()}")
    if not {"get", "post"} <= answers["405"].tokens("allow"):
        problems.append(f"405: Allow is {answers['405'].header('allow')}, but GET and POST exist")
    expect_all(problems)
    return ", ".join(f"{kind} ({answer.status})" for kind, answer in answers.items())


@check(
    "E1",
    "503 has it, with Retry-After; a request over its time is 503",
    needs={"dependency"},
    own=True,
)
async def over_time(bench: Bench) -> str:
    async with bench.fresh({"REQUEST_TIMEOUT": "1", "DEPENDENCY_TIMEOUT": "5"}) as rig:
        rig.dependency.mode = "hang"
        started = time.monotonic()
        answer = await rig.upstream()
        seconds = time.monotonic() - started
    expect_all(body_problems(answer, 503))
    expect(answer.header("retry-after"), "a 503 without Retry-After")
    expect(seconds < 2, f"the 503 came after {seconds:.1f} s (REQUEST_TIMEOUT=1)")
    return f"503 after {seconds:.2f} s, Retry-After {answer.header('retry-after')}"


@check("E1", "no body on 204 and HEAD", needs={"items"})
async def no_body(bench: Bench) -> str:
    rig = await bench.rig()
    path = await rig.new_item()
    deleted = await rig.client.request("DELETE", path)
    expect(deleted.status == 204 and not deleted.body, f"DELETE is {deleted.brief()}")
    for target in ("/nothing-here", "/health/live", rig.items):
        head = await rig.client.request("HEAD", target)
        expect(not head.body, f"HEAD {target} has a body of {len(head.body)} bytes")
    return "204 and three HEADs without a body"


@check("E2", "X-Trace-ID on every response, and never the same twice")
async def trace_header_everywhere(bench: Bench) -> str:
    rig = await bench.rig()
    answers = await provoked(rig)
    for path in ("/health/live", "/health/ready", rig.items):
        answers[path] = await rig.client.get(path)
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    answers["preflight"] = await rig.client.request("OPTIONS", rig.items, headers=preflight)
    ids = {kind: answer.header("x-trace-id") for kind, answer in answers.items()}
    expect_all(
        f"{kind}: X-Trace-ID is {value}"
        for kind, value in ids.items()
        if not TRACE_ID.match(value or "")
    )
    expect(len(set(ids.values())) == len(ids), "two responses share a trace id")
    return f"{len(ids)} kinds of responses, {len(ids)} ids"


@check("E7", "Accept: application/problem+json gets the same facts as RFC 9457")
async def problem_json(bench: Bench) -> str:
    rig = await bench.rig()
    answer = await rig.client.get("/nothing-here", headers={"Accept": "application/problem+json"})
    body = answer.object()
    kind = answer.header("content-type") or ""
    expect(kind.startswith("application/problem+json"), f"content type {kind}")
    wanted = {"status": 404, "title": "Not Found", "trace_id": answer.header("x-trace-id")}
    expect_all(
        f"{key} is {body.get(key)!r}, not {value!r}"
        for key, value in wanted.items()
        if body.get(key) != value
    )
    expect(
        isinstance(body.get("detail"), str) and isinstance(body.get("type", "about:blank"), str),
        f"body {body}",
    )
    for accept in ("application/json", "*/*"):
        plain = await rig.client.get("/nothing-here", headers={"Accept": accept})
        kind = plain.header("content-type") or ""
        expect(kind.startswith("application/json"), f"Accept: {accept} gets {kind}")
    return f"members {', '.join(body)}"


@check("E8", "a body over MAX_BODY_BYTES is 413 without being read whole", needs={"items"})
async def too_large(bench: Bench) -> str:
    rig = await bench.rig()
    start = f"POST {rig.items} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    announced = f"{start}Content-Length: {1 << 33}\r\n\r\n"
    by_length = await rig.client.raw(announced.encode() + b'{"name":"', within=5)
    expect_all(f"announced 8 GiB: {problem}" for problem in body_problems(by_length, 413))
    head = f"{start}Transfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    by_count = await rig.client.raw(head.encode() + chunk * 20, within=5)
    expect_all(
        f"chunked, unfinished after 1.25 MiB: {problem}" for problem in body_problems(by_count, 413)
    )
    name = b'{"name":"' + secrets.token_hex(6).encode() + b'"' + b" " * (LIMIT - 23) + b"}"
    fits = await rig.client.request("POST", rig.items, headers=JSON_TYPE, body=name)
    expect(
        len(name) == LIMIT and fits.status == 201,
        f"a body of exactly {len(name)} bytes is {fits.brief()}",
    )
    return "8 GiB announced: 413 at once; endless chunks: 413 after 1 MiB; exactly 1 MiB: 201"


@check("E1", "a database that goes away is a 503 with the standard body", needs={"items"}, own=True)
async def database_gone(bench: Bench) -> str:
    async with bench.fresh() as rig:
        path = await rig.new_item()
        assert rig.proxy is not None
        rig.proxy.set("reset")
        answers = await asyncio.gather(
            rig.client.get(rig.items), rig.create_item(), rig.client.request("DELETE", path)
        )
        rig.proxy.set("pass")
        again = await rig.client.get(rig.items)
    expect_all(problem for answer in answers for problem in body_problems(answer, 503))
    expect(all(answer.header("retry-after") for answer in answers), "a 503 without Retry-After")
    expect(again.status == 200, f"after the database is back the service answers {again.brief()}")
    return f"3 times 503 ({code_of(answers[0])}), 200 when it is back"
