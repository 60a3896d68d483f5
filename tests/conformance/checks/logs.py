"""L: logging."""

import json
import re
import secrets
from collections.abc import Iterator
from typing import Any

from conformance.bench import Bench
from conformance.checks.common import SPAN_ID, TRACE_ID, completed, unhandled
from conformance.checks.log_lines import line_problems
from conformance.registry import check, expect, expect_all
from conformance.rig import new_trace

_TIMESTAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
_LEVELS = {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
_REQUIRED = ("timestamp", "level", "logger", "message", "service", "version", "environment")
_COMPLETED = (
    "method",
    "path",
    "route",
    "status",
    "duration_ms",
    "request_bytes",
    "response_bytes",
    "client_ip",
    "user_agent",
    "trace_id",
    "span_id",
)


@check(
    "L1",
    "every line on stdout is one strict JSON object, stderr stays empty",
    needs={"logs"},
    last=True,
)
async def only_json(bench: Bench) -> str:
    rig = await bench.rig()
    for path in ("/health/live", "/health/ready", "/nothing-here", rig.items):
        await rig.client.get(path)
    await rig.logged(completed)
    judged = [rig for rig in bench.rigs if rig.process is not None] or [rig]
    problems = [
        problem for one in judged for line in one.lines() for problem in line_problems(line)
    ]
    expect_all(problems[:3], f"{len(problems)} bad lines on stdout")
    stderr = [line for one in judged if one.process for line in one.process.stderr]
    expect_all((repr(line[:160]) for line in stderr), "stderr")
    count = sum(len(one.lines()) for one in judged)
    expect(count > 0, "nothing was logged at all")
    return f"{count} lines of {len(judged)} instances, start to stop; stderr empty"


@check("L2", "the standard fields, in their formats", needs={"logs"})
async def standard_fields(bench: Bench) -> str:
    rig = await bench.rig()
    response = await rig.client.get("/nothing-here")
    await rig.traced(response.header("x-trace-id") or "")
    problems: list[str] = []
    entries = rig.logs()
    expect(entries, "no JSON line at all")
    for entry in entries:
        problems += [
            f"{key} missing in {entry.get('message')!r}" for key in _REQUIRED if not entry.get(key)
        ]
        problems += list(_format_problems(entry, bench.description.name))
    expect_all(problems)
    inside = [entry for entry in entries if "trace_id" in entry]
    outside = [entry for entry in entries if "trace_id" not in entry]
    expect(inside, "no line carries a trace_id")
    expect(
        bench.description.base_url or outside, "every line carries a trace_id, start-up included"
    )
    return f"{len(entries)} lines, {len(inside)} inside requests"


def _format_problems(entry: dict[str, Any], service: str) -> Iterator[str]:
    if not _TIMESTAMP.match(str(entry.get("timestamp"))):
        yield f"timestamp {entry.get('timestamp')!r}"
    if entry.get("level") not in _LEVELS:
        yield f"level {entry.get('level')!r}"
    if entry.get("service") != service:
        yield f"service {entry.get('service')!r}"
    for key, form in (("trace_id", TRACE_ID), ("span_id", SPAN_ID)):
        if key in entry and not form.match(str(entry[key])):
            yield f"{key} {entry[key]!r}"


@check("L3", "one trace id in log, span, error body and X-Trace-ID", needs={"process", "logs"})
async def one_trace_id(bench: Bench) -> str:
    rig = await bench.rig()
    trace_id, parent = new_trace()
    response = await rig.client.get("/nothing-here", headers={"traceparent": parent})
    found = {
        "X-Trace-ID": response.header("x-trace-id"),
        "the error body": response.object().get("trace_id"),
        "the log": next((entry["trace_id"] for entry in await rig.traced(trace_id)), None),
        "the span": next((span.trace_id for span in await rig.collector.trace(trace_id)), None),
    }
    expect_all(f"{where} has {value}" for where, value in found.items() if value != trace_id)
    return f"the same id in {', '.join(found)}"


@check("L3", "application and error lines carry the request's trace id", needs={"items"})
async def lines_of_request(bench: Bench) -> str:
    rig = await bench.rig()
    mark = await rig.mark()
    response = await unhandled(rig)
    wanted = response.header("x-trace-id")
    entries = await rig.logged(lambda entry: "exception" in entry or completed(entry), mark, 2)
    expect(len(entries) >= 2, f"{len(entries)} lines for a failed request")
    expect_all(
        f"{entry['message']!r} has {entry.get('trace_id')}"
        for entry in entries
        if entry.get("trace_id") != wanted
    )
    return f"{len(entries)} lines of a failed request"


@check(
    "L4",
    "one request_completed event with all fields, counted sizes, no query string",
    needs={"items"},
)
async def completed_event(bench: Bench) -> str:
    rig = await bench.rig()
    path = await rig.new_item()
    mark, word = await rig.mark(), secrets.token_hex(8)
    headers = {"User-Agent": f"probe/{word}", "X-Forwarded-For": "203.0.113.9"}
    response = await rig.client.get(f"{path}?note={word}", headers=headers)
    entries = await rig.logged(completed, mark)
    expect(len(entries) == 1, f"{len(entries)} request_completed events for one request")
    entry = entries[0]
    problems = [f"{key} is missing" for key in _COMPLETED if key not in entry]
    wanted = {
        "method": "GET",
        "path": path,
        "status": 200,
        "request_bytes": 0,
        "response_bytes": len(response.body),
        "client_ip": "127.0.0.1",
        "user_agent": f"probe/{word}",
        "level": "INFO",
    }
    problems += [
        f"{key} is {entry.get(key)!r}, not {value!r}"
        for key, value in wanted.items()
        if entry.get(key) != value
    ]
    if not re.fullmatch(re.escape(rig.items) + r"/\{\w+\}", str(entry.get("route"))):
        problems.append(f"route is {entry.get('route')!r}")
    if not 0 <= float(entry.get("duration_ms") or -1) < 5000:
        problems.append(f"duration_ms is {entry.get('duration_ms')!r}")
    expect_all(problems)
    lines = [line for line in rig.lines(mark) if path.encode() in line]
    expect(len(lines) == 1, f"{len(lines)} lines name the path: a second access log")
    return f"{len(_COMPLETED)} fields; {entry['duration_ms']} ms, {entry['response_bytes']} bytes"


@check("L4", "one request_completed event, also for what matches no route", needs={"logs"})
async def completed_unmatched(bench: Bench) -> str:
    rig = await bench.rig()
    mark, word = await rig.mark(), secrets.token_hex(8)
    await rig.client.get(f"/nothing-{word}?token={word}")
    entries = await rig.logged(completed, mark)
    expect(len(entries) == 1, f"{len(entries)} request_completed events for one request")
    expect_all(f"{key} is missing" for key in _COMPLETED if key not in entries[0])
    expect(entries[0].get("path") == f"/nothing-{word}", f"path is {entries[0].get('path')!r}")
    lines = [line for line in rig.lines(mark) if word.encode() in line]
    expect(len(lines) == 1, f"{len(lines)} lines name the path: a second access log")
    return "one event, one line"


@check(
    "L4",
    "5xx at ERROR, probes at DEBUG, client_ip from a trusted proxy only",
    needs={"process"},
    own=True,
)
async def completed_levels(bench: Bench) -> str:
    async with bench.fresh({"LOG_LEVEL": "DEBUG", "TRUSTED_PROXIES": "127.0.0.1"}) as rig:
        mark = await rig.mark()
        await rig.client.get("/health/live")
        await rig.client.get("/nothing-here", headers={"X-Forwarded-For": "203.0.113.9"})
        if "items" in bench.description.capabilities:
            await unhandled(rig)
        entries = await rig.logged(completed, mark, 3)
    levels = {entry.get("path"): entry.get("level") for entry in entries}
    expect(
        levels.get("/health/live") == "DEBUG",
        f"a probe is logged at {levels.get('/health/live')} (LOG_LEVEL=DEBUG)",
    )
    address = next(
        (entry.get("client_ip") for entry in entries if entry.get("path") == "/nothing-here"), None
    )
    expect(address == "203.0.113.9", f"client_ip is {address} behind a trusted proxy")
    if "items" in bench.description.capabilities:
        expect(levels.get(rig.items) == "ERROR", f"a 500 is logged at {levels.get(rig.items)}")
    return f"levels {levels}"


@check("L5", "an unhandled error is logged once, as an object, with its trace id", needs={"items"})
async def exception_object(bench: Bench) -> str:
    rig = await bench.rig()
    mark = await rig.mark()
    response = await unhandled(rig)
    await rig.logged(completed, mark)
    entries = [entry for entry in rig.logs(mark) if "exception" in entry]
    expect(len(entries) == 1, f"{len(entries)} lines hold an exception")
    exception = entries[0]["exception"]
    expect(isinstance(exception, dict), f"exception is a {type(exception).__name__}")
    expect_all(
        f"exception.{key} is missing"
        for key in ("type", "message", "stacktrace")
        if not exception.get(key)
    )
    expect(
        entries[0].get("trace_id") == response.header("x-trace-id"),
        "the line has not the request's trace id",
    )
    size = len(json.dumps(exception))
    expect(size < 64 * 1024, f"the exception takes {size} bytes")
    return f"{exception['type']}, {size} bytes, once"
