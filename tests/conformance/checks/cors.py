"""C: CORS."""

import asyncio

from conformance.bench import Bench
from conformance.checks.common import unhandled
from conformance.checks.settings import refusal
from conformance.description import ORIGIN
from conformance.process import eventually
from conformance.registry import check, expect, expect_all
from conformance.rig import Rig
from conformance.wire import Response

OTHER = "https://evil.example.org"
METHODS = {"get", "post", "put", "patch", "delete"}
HEADERS = {"authorization", "content-type", "traceparent", "x-trace-id"}
EXPOSED = {"x-trace-id", "retry-after", "location"}


async def preflight(
    rig: Rig, origin: str, method: str = "POST", headers: str = "authorization"
) -> Response:
    """Ask whether a browser of that origin may make a request."""
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": headers,
    }
    return await rig.client.request("OPTIONS", rig.items, headers=asked)


async def _allows(rig: Rig, origin: str) -> bool:
    answer = await rig.client.get("/nothing-here", headers={"Origin": origin})
    return answer.header("access-control-allow-origin") == origin


@check("C1", "empty or * stops the start in production and staging", needs={"process"}, own=True)
async def no_wildcard(bench: Bench) -> str:
    cases: list[dict[str, str | None]] = [
        {"ALLOWED_ORIGINS": "*"},
        {"ALLOWED_ORIGINS": ""},
        {"ALLOWED_ORIGINS": None},
        {"ALLOWED_ORIGINS": "*", "ENVIRONMENT": "staging"},
    ]
    for case in cases:
        process = await refusal(bench, case)
        expect(
            b"ALLOWED_ORIGINS" in b"".join(process.stdout),
            f"the refusal of {case} does not name ALLOWED_ORIGINS",
        )
    return f"{len(cases)} configurations refused"


@check("C1", "staging and development have their defaults", needs={"process"}, own=True)
async def defaults(bench: Bench) -> str:
    expected = {"development": ["http://localhost:3000", "http://localhost:8080"]}
    if bench.description.staging_origins:
        expected["staging"] = list(bench.description.staging_origins)
    problems = []
    for environment, origins in expected.items():
        async with bench.fresh({"ENVIRONMENT": environment, "ALLOWED_ORIGINS": None}) as rig:
            problems += [
                f"{environment}: {origin} is not allowed"
                for origin in origins
                if not await _allows(rig, origin)
            ]
            if await _allows(rig, OTHER):
                problems.append(f"{environment}: {OTHER} is allowed")
    expect_all(problems)
    return "; ".join(
        f"{environment}: {', '.join(origins)}" for environment, origins in expected.items()
    )


@check("C2", "what is no origin is refused in production", needs={"process"}, own=True)
async def bad_origins(bench: Bench) -> str:
    bad = [
        "https://app.example.com/",
        "https://app.example.com/path",
        "null",
        "http://app.example.com",
        "https://localhost:3000",
        "app.example.com",
        "https://app.example.com,https://*.example.com",
    ]
    gate = asyncio.Semaphore(2)
    problems: list[str] = []

    async def one(origins: str) -> None:
        async with gate:
            try:
                await refusal(bench, {"ALLOWED_ORIGINS": origins})
            except AssertionError as error:
                problems.append(str(error))

    await asyncio.gather(*(one(origins) for origins in bad))
    expect_all(problems)
    return f"{len(bad)} refused: {', '.join(bad)}"


@check(
    "C2",
    "case and default port are normalised; comma list and JSON list are both read",
    needs={"process"},
    own=True,
)
async def normalised(bench: Bench) -> str:
    cases = [
        "HTTPS://App.Example.COM:443,https://two.example.com:8443",
        '["https://app.example.com","https://two.example.com:8443"]',
    ]
    problems = []
    for origins in cases:
        async with bench.fresh({"ALLOWED_ORIGINS": origins}) as rig:
            for origin in (ORIGIN, "https://two.example.com:8443"):
                if not await _allows(rig, origin):
                    problems.append(f"{origins} does not allow {origin}")
    expect_all(problems)
    return "upper case, :443 and a JSON list lead to the same origins"


@check(
    "C3",
    "methods, headers, exposed headers and credentials for an allowed origin, nothing for others",
    needs={"process"},
)
async def rules(bench: Bench) -> str:
    rig = await bench.rig()
    answer = await preflight(rig, ORIGIN, "PATCH", ", ".join(sorted(HEADERS)))
    simple = await rig.client.get("/nothing-here", headers={"Origin": ORIGIN})
    allowed = answer.tokens("access-control-allow-methods")
    problems = [] if answer.status in (200, 204) else [f"the preflight is {answer.brief()}"]
    if allowed != METHODS:
        problems.append(f"methods {sorted(allowed)}")
    if not answer.tokens("access-control-allow-headers") >= HEADERS:
        problems.append(f"headers {sorted(answer.tokens('access-control-allow-headers'))}")
    if simple.tokens("access-control-expose-headers") != EXPOSED:
        problems.append(f"exposed {sorted(simple.tokens('access-control-expose-headers'))}")
    for kind, found in (("preflight", answer), ("request", simple)):
        if found.header("access-control-allow-origin") != ORIGIN:
            problems.append(
                f"{kind}: Access-Control-Allow-Origin {found.header('access-control-allow-origin')}"
            )
        if found.header("access-control-allow-credentials") != "true":
            problems.append(f"{kind}: no credentials")
    for refused in (
        await preflight(rig, OTHER),
        await preflight(rig, ORIGIN, "TRACE"),
        await preflight(rig, ORIGIN, headers="x-evil"),
    ):
        if refused.status < 400:
            problems.append(f"a preflight that should be refused is {refused.status}")
    expect_all(problems)
    return "as the contract lists them; three refused preflights"


@check("C3", "an origin that is not allowed gets no Access-Control-Allow-Origin")
async def strangers(bench: Bench) -> str:
    rig = await bench.rig()
    problems = []
    strange = [
        OTHER,
        "null",
        f"{ORIGIN}.evil.org",
        ORIGIN.replace("https", "http"),
        f"{ORIGIN}:8443",
    ]
    for origin in strange:
        for answer in (
            await rig.client.get("/nothing-here", headers={"Origin": origin}),
            await preflight(rig, origin),
        ):
            found = answer.header("access-control-allow-origin")
            if found is not None:
                problems.append(f"{origin} gets Access-Control-Allow-Origin {found}")
    expect_all(problems)
    return f"{len(strange)} strange origins, requests and preflights"


@check("C4", "Vary: Origin on every response, without and with any origin")
async def vary(bench: Bench) -> str:
    rig = await bench.rig()
    problems = []
    for path in ("/nothing-here", "/health/live", "/health/ready", rig.items):
        for headers in ({}, {"Origin": ORIGIN}, {"Origin": OTHER}):
            answer = await rig.client.get(path, headers=headers)
            if "origin" not in answer.tokens("vary"):
                problems.append(
                    f"{path} with {headers or 'no origin'}: Vary is {answer.header('vary')}"
                )
    expect_all(problems)
    return "4 paths, 3 ways"


@check("C4", "CORS headers stand on 404, 405, 413, 422, 500 and 503", needs={"items"})
async def on_errors(bench: Bench) -> str:
    rig = await bench.rig()
    headers = {"Origin": ORIGIN, "Content-Type": "application/json"}
    large = b'{"name":"' + b"x" * (2 * 1024 * 1024) + b'"}'
    answers = [
        await rig.client.get("/nothing-here", headers=headers),
        await rig.client.request("DELETE", rig.items, headers=headers),
        await rig.client.request("POST", rig.items, headers=headers, body=large),
        await rig.client.request("POST", rig.items, headers=headers, body=b"{"),
        await unhandled(rig, headers=headers),
    ]
    if "dependency" in bench.description.capabilities:
        rig.dependency.reset()
        rig.dependency.status = 500
        answers.append(await rig.upstream(headers=headers))
        rig.dependency.reset()
        await eventually(lambda: _closed(rig), 5, 0.1)
    problems = []
    for answer in answers:
        if answer.header("access-control-allow-origin") != ORIGIN:
            problems.append(f"{answer.status} has no CORS headers")
        if "x-trace-id" not in answer.tokens("access-control-expose-headers"):
            problems.append(f"{answer.status} exposes no X-Trace-ID")
    expect_all(problems)
    return f"statuses {[answer.status for answer in answers]}"


async def _closed(rig: Rig) -> bool:
    return (await rig.upstream()).status == 200
