"""T: spans of requests."""

import secrets
import uuid
from collections.abc import Iterable

from conformance.bench import Bench
from conformance.checks.common import TRACE_ID, unhandled
from conformance.counterparts.collector import Span
from conformance.registry import check, expect, expect_all
from conformance.rig import new_trace


def server(spans: Iterable[Span]) -> Span:
    """Return the server span among the spans of a trace."""
    found = [span for span in spans if span.kind == "server"]
    expect(len(found) == 1, f"{len(found)} server spans in one request's trace")
    return found[0]


def _ancestors(span: Span, spans: list[Span]) -> set[str]:
    by_id = {one.span_id: one for one in spans}
    found: set[str] = set()
    current: Span | None = span
    while current is not None and current.parent_id not in found:
        found.add(current.parent_id)
        current = by_id.get(current.parent_id)
    return found


@check(
    "T1",
    "traceparent is continued; the server span is named after method and route",
    needs={"process"},
)
async def continued(bench: Bench) -> str:
    rig = await bench.rig()
    trace_id, parent = new_trace()
    answer = await rig.client.get("/nothing-here", headers={"traceparent": parent})
    span = server(await rig.collector.trace(trace_id))
    expect(span.parent_id == parent.split("-")[2], "the server span is not a child of the caller's")
    expect(answer.header("x-trace-id") == trace_id, "X-Trace-ID is not the caller's trace id")
    expect(not span.error, "a 404 is an ERROR span")
    bad = await rig.client.get("/nothing-here", headers={"traceparent": "00-nonsense-1-01"})
    expect(
        TRACE_ID.match(bad.header("x-trace-id") or ""),
        "a malformed traceparent leaves the request without a trace id",
    )
    return f"span {span.name!r} below the caller's; malformed traceparent: a new trace"


@check("T1", "client, database and cache spans stand below the server span", needs={"items"})
async def children(bench: Bench) -> str:
    rig = await bench.rig()
    path = await rig.new_item()
    trace_id, parent = new_trace()
    await rig.client.get(path, headers={"traceparent": parent})
    spans = await rig.collector.trace(trace_id, 3)
    root = server(spans)
    expect(root.name.startswith(f"GET {rig.items}/{{"), f"the server span is called {root.name!r}")
    below = [span for span in spans if span.kind == "client"]
    systems = {
        str(span.attributes.get("db.system.name") or span.attributes.get("db.system"))
        for span in below
    }
    expect("postgresql" in systems, f"no database span: client spans of {sorted(systems)}")
    if bench.description.cache:
        expect("redis" in systems, f"no cache span: client spans of {sorted(systems)}")
    expect_all(
        f"{span.name!r} hangs loose"
        for span in below
        if root.span_id not in _ancestors(span, spans)
    )
    return f"{root.name!r} with {len(below)} client spans: {', '.join(sorted(systems))}"


@check("T1", "the trace goes on in the dependency, below a client span", needs={"dependency"})
async def outward(bench: Bench) -> str:
    rig = await bench.rig()
    rig.dependency.reset()
    trace_id, parent = new_trace()
    answer = await rig.upstream(headers={"traceparent": parent})
    expect(answer.status == 200, f"the guarded call is {answer.brief()}")
    received = rig.dependency.calls[-1].headers.get("traceparent", "none")
    spans = await rig.collector.trace(trace_id, 2)
    clients = {span.span_id: span for span in spans if span.kind == "client"}
    expect(
        received.split("-")[1:2] == [trace_id], f"the dependency received traceparent {received}"
    )
    expect(received.split("-")[2] in clients, "the dependency's parent is no exported client span")
    client = clients[received.split("-")[2]]
    expect(
        server(spans).span_id in _ancestors(client, spans),
        "the client span is not below the server span",
    )
    return f"client span {client.name!r}, dependency got its id"


@check("T1", "5xx is an ERROR span with the exception recorded, 4xx is not", needs={"items"})
async def error_spans(bench: Bench) -> str:
    rig = await bench.rig()
    trace_id, parent = new_trace()
    await unhandled(rig, headers={"traceparent": parent})
    span = server(await rig.collector.trace(trace_id, 3))
    expect(span.error, "the server span of a 500 has no ERROR status")
    events = [attributes for name, attributes in span.events if name == "exception"]
    expect(
        events and events[0].get("exception.type"),
        "the server span of a 500 has no exception event",
    )
    trace_id, parent = new_trace()
    await rig.client.request("POST", rig.items, json={}, headers={"traceparent": parent})
    expect(not server(await rig.collector.trace(trace_id)).error, "a 422 is an ERROR span")
    return f"500: ERROR, {events[0]['exception.type']}; 422: not an error"


@check(
    "T3", "the resource names service, version, environment, instance and pod", needs={"process"}
)
async def resource(bench: Bench) -> str:
    rig = await bench.rig()
    trace_id, parent = new_trace()
    await rig.client.get("/nothing-here", headers={"traceparent": parent})
    found = server(await rig.collector.trace(trace_id)).resource
    wanted = {
        "service.name": bench.description.name,
        "deployment.environment.name": "production",
        "k8s.pod.name": "conformance-pod",
    }
    problems = [
        f"{key} is {found.get(key)!r}" for key, value in wanted.items() if found.get(key) != value
    ]
    problems += [
        f"{key} is missing"
        for key in ("service.version", "service.instance.id")
        if not found.get(key)
    ]
    expect_all(problems)
    return f"{len(found)} attributes, version {found['service.version']}"


@check(
    "T4",
    "probes and metrics are not traced, by exact path; no send or receive spans",
    needs={"process"},
)
async def untraced(bench: Bench) -> str:
    rig = await bench.rig()
    quiet, seen = [], []
    for path in ("/health/live", "/health/ready"):
        trace_id, parent = new_trace()
        await rig.client.get(path, headers={"traceparent": parent})
        quiet.append((path, trace_id))
    metrics_id, parent = new_trace()
    await rig.metrics_client.get(rig.metrics_path, headers={"traceparent": parent})
    quiet.append(("/metrics", metrics_id))
    for path in ("/health/live/more", "/nothing/health/live"):
        trace_id, parent = new_trace()
        await rig.client.get(path, headers={"traceparent": parent})
        seen.append((path, trace_id))
    for path, trace_id in seen:
        spans = await rig.collector.trace(trace_id)
        expect(len(spans) == 1, f"{path} has {len(spans)} spans: {[span.name for span in spans]}")
    traced = {span.trace_id for span in rig.collector.spans}
    expect_all(f"{path} is traced" for path, trace_id in quiet if trace_id in traced)
    return "3 quiet paths, 2 that only look like them, one span each"


@check("T4", "no query values and no bound parameters in spans", needs={"items", "dependency"})
async def no_values(bench: Bench) -> str:
    rig = await bench.rig()
    secret = f"kanarienvogel{secrets.token_hex(6)}"
    trace_id, parent = new_trace()
    headers = {"traceparent": parent}
    await rig.create_item(secret, headers=headers)
    await rig.client.get(f"{rig.items}?limit=5&token={secret}", headers=headers)
    await rig.client.get(f"{rig.upstream_path}?token={secret}", headers=headers)
    spans = await rig.collector.trace(trace_id, 6)
    expect(len(spans) >= 3, f"only {len(spans)} spans")
    leaks = [span for span in spans if secret in span.text()]
    expect_all(f"span {span.name!r} holds the value: {span.attributes}"[:300] for span in leaks)
    return f"{len(spans)} spans, none holds the value"


@check("T6", "a valid X-Trace-ID becomes the trace id, an invalid one is ignored")
async def trace_header(bench: Bench) -> str:
    rig = await bench.rig()
    plain, dashed = secrets.token_hex(16), str(uuid.uuid4())
    problems = []
    for sent, wanted in ((plain, plain), (dashed, dashed.replace("-", ""))):
        answer = await rig.client.get("/nothing-here", headers={"X-Trace-ID": sent})
        if answer.header("x-trace-id") != wanted:
            problems.append(f"X-Trace-ID {sent} comes back as {answer.header('x-trace-id')}")
    for sent in ("0" * 32, "zz", plain[:-1], plain + "0", "<script>", "-" * 36):
        answer = await rig.client.get("/nothing-here", headers={"X-Trace-ID": sent})
        found = answer.header("x-trace-id") or ""
        if not TRACE_ID.match(found) or found == sent:
            problems.append(f"the invalid X-Trace-ID {sent!r} leads to {found!r}")
    trace_id, parent = new_trace()
    answer = await rig.client.get(
        "/nothing-here", headers={"X-Trace-ID": plain, "traceparent": parent}
    )
    if answer.header("x-trace-id") != trace_id:
        problems.append("X-Trace-ID wins over traceparent")
    expect_all(problems)
    return "32 hex and UUID taken, 6 invalid ones replaced, traceparent wins"


@check("T6", "the span of a request with X-Trace-ID is a root span", needs={"process"})
async def trace_header_root(bench: Bench) -> str:
    rig = await bench.rig()
    trace_id = secrets.token_hex(16)
    await rig.client.get("/nothing-here", headers={"X-Trace-ID": trace_id})
    span = server(await rig.collector.trace(trace_id))
    expect(not span.parent_id, f"the span has the parent {span.parent_id}")
    return "exported, without a parent"


@check("T7", "the sample shows a span of its own", needs={"items"})
async def manual_span(bench: Bench) -> str:
    rig = await bench.rig()
    trace_id, parent = new_trace()
    await rig.create_item(headers={"traceparent": parent})
    spans = await rig.collector.trace(trace_id, 3)
    own = [
        span
        for span in spans
        if span.kind == "internal" and not span.name.endswith((" send", " receive"))
    ]
    expect(
        own,
        f"creating an item makes no span of the application's own: {[span.name for span in spans]}",
    )
    expect(
        server(spans).span_id in _ancestors(own[0], spans),
        "the manual span is not below the server span",
    )
    return f"span {own[0].name!r}"
