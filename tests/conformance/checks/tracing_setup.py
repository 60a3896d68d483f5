"""T: tracing as it is configured: no endpoint, switched off, sampled, and a collector that is dead or hangs."""

import signal
import socket
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from conformance.bench import Bench
from conformance.checks.common import TRACE_ID, body_problems
from conformance.checks.settings import refusal
from conformance.process import free_port
from conformance.registry import check, expect, expect_all
from conformance.rig import Rig, new_trace

ROUNDS, SLICE = 12, 25


@check(
    "T2",
    "no endpoint, SDK disabled, or unsampled: ids everywhere, no noise, no spans",
    needs={"process"},
    own=True,
)
async def ids_without_export(bench: Bench) -> str:
    cases: dict[str, dict[str, str | None]] = {
        "no endpoint": {"OTEL_EXPORTER_OTLP_ENDPOINT": None},
        "OTEL_SDK_DISABLED": {"OTEL_SDK_DISABLED": "true"},
        "always_off": {"OTEL_TRACES_SAMPLER": "always_off"},
    }
    problems = []
    for name, env in cases.items():
        async with bench.fresh(env) as rig:
            answer = await rig.client.get("/nothing-here")
            problems += [f"{name}: {problem}" for problem in body_problems(answer, 404)]
            entries = await rig.traced(answer.header("x-trace-id") or "none")
            if not entries or not TRACE_ID.match(str(entries[0].get("trace_id"))):
                problems.append(f"{name}: the log has no trace id")
            noise = [
                entry
                for entry in rig.logs()
                if entry.get("level") in {"WARNING", "ERROR", "CRITICAL"}
            ]
            problems += [f"{name}: noise in the log: {entry.get('message')!r}" for entry in noise]
            assert rig.process is not None
            await rig.process.stop(signal.SIGINT, 10)
            if rig.collector.spans:
                problems.append(f"{name}: {len(rig.collector.spans)} spans were exported")
    expect_all(problems)
    return f"{', '.join(cases)}: ids in header, body and log, nothing exported"


@check("T2", "a protocol other than gRPC is a configuration error", needs={"process"}, own=True)
async def protocol(bench: Bench) -> str:
    process = await refusal(bench, {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"})
    expect(
        b"OTEL_EXPORTER_OTLP_PROTOCOL" in b"".join(process.stdout),
        "the refusal does not name the variable",
    )
    return "http/protobuf: exit 78, variable named"


@asynccontextmanager
async def _black_hole() -> AsyncIterator[int]:
    """A listener that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield listener.getsockname()[1]


async def _slice(rig: Rig) -> list[float]:
    async with rig.client.connection() as connection:
        return [(await connection.request("GET", "/nothing-here")).seconds for _ in range(SLICE)]


@check(
    "T5",
    "a dead or hanging collector slows no request and floods no log",
    needs={"process"},
    alone=True,
)
async def bad_collectors(bench: Bench) -> str:
    async with AsyncExitStack() as stack:
        hole = await stack.enter_async_context(_black_hole())
        endpoints = {"live": None, "dead": free_port(), "hanging": hole}
        rigs: dict[str, Rig] = {}
        for name, port in endpoints.items():
            env = (
                {} if port is None else {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
            )
            rigs[name] = await stack.enter_async_context(bench.fresh(env))
            await _slice(rigs[name])
        times: dict[str, list[float]] = {name: [] for name in rigs}
        for _ in range(ROUNDS):
            for name, rig in rigs.items():
                times[name] += await _slice(rig)
        medians = {name: statistics.median(found) * 1000 for name, found in times.items()}
        tails = {
            name: statistics.quantiles(found, n=20)[-1] * 1000 for name, found in times.items()
        }
        problems = []
        stops: dict[str, float] = {}
        for name, rig in rigs.items():
            started = time.monotonic()
            assert rig.process is not None
            rig.process.send(signal.SIGINT)
            code = await rig.process.wait(15)
            stops[name] = time.monotonic() - started
            noise = [
                entry
                for entry in rig.logs()
                if entry.get("level") in {"WARNING", "ERROR", "CRITICAL"}
            ]
            if len(noise) > 10:
                problems.append(f"{name}: {len(noise)} warnings, e.g. {noise[0].get('message')!r}")
            if code != 0:
                problems.append(f"{name}: exit code {code}")
    for name in ("dead", "hanging"):
        if medians[name] > 1.5 * medians["live"] + 1 or tails[name] > 2 * tails["live"] + 5:
            problems.append(f"{name}: median {medians[name]:.2f} ms, p95 {tails[name]:.2f} ms")
        if stops[name] > stops["live"] + 5.5:
            problems.append(
                f"{name}: shutdown takes {stops[name]:.1f} s, {stops['live']:.1f} s with a live one"
            )
    expect_all(problems, f"live: median {medians['live']:.2f} ms, p95 {tails['live']:.2f} ms")
    shown = ", ".join(
        f"{name} {medians[name]:.2f} ms (stops in {stops[name]:.1f} s)" for name in rigs
    )
    return f"median latency: {shown}"


@check("H4", "spans that wait are flushed at the end", needs={"process"}, own=True)
async def flushed(bench: Bench) -> str:
    async with bench.fresh({"OTEL_BSP_SCHEDULE_DELAY": "60000"}) as rig:
        trace_id, parent = new_trace()
        await rig.client.get("/nothing-here", headers={"traceparent": parent})
        assert rig.process is not None
        rig.process.send(signal.SIGINT)
        code = await rig.process.wait(15)
        spans = await rig.collector.trace(trace_id, within=1)
    expect(code == 0, f"exit code {code}")
    expect(spans, "the span of the last request was lost: nothing is flushed at the end")
    return "the last request's span arrived at shutdown, exit 0"
