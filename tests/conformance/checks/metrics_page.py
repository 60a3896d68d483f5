"""M: the metrics page itself: names, types, labels, formats, and what Prometheus makes of them."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from conformance.bench import Bench
from conformance.counterparts.prometheus import Prometheus
from conformance.process import eventually, run
from conformance.registry import NotApplicableError, check, expect, expect_all
from conformance.rig import Rig, base_environment, new_trace
from conformance.scrape import Scrape

DURATION_BUCKETS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0]

_HTTP = {
    "http_requests_total": ("counter", "service method path status"),
    "http_request_duration_seconds": ("histogram", "service method path"),
    "http_request_size_bytes": ("histogram", "service method"),
    "http_response_size_bytes": ("histogram", "service method status"),
    "http_requests_in_progress": ("gauge", "service method"),
    "service_info": ("gauge", "service version environment template_version"),
}
_BY_CAPABILITY = {
    "database": {"health_check_status": ("gauge", "service check")},
    "cache": {"cache_operations_total": ("counter", "service operation result")},
    "dependency": {"circuit_breaker_state": ("gauge", "service dependency state")},
}


def _types(text: str) -> dict[str, str]:
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))


def _dependency_prefix(bench: Bench) -> str:
    first = next(iter(bench.description.dependencies)).replace("-", "_")
    return f"{bench.description.prefix}_{first}"


def _expected(bench: Bench) -> dict[str, tuple[str, str]]:
    found = dict(_HTTP)
    for capability, metrics in _BY_CAPABILITY.items():
        if capability in bench.description.capabilities:
            found |= metrics
    if "dependency" in bench.description.capabilities:
        found[f"{_dependency_prefix(bench)}_requests_total"] = ("counter", "status")
        found[f"{_dependency_prefix(bench)}_duration_seconds"] = ("histogram", "")
    return found


def _problems(
    scrape: Scrape, types: dict[str, str], expected: dict[str, tuple[str, str]]
) -> Iterator[str]:
    for name, (kind, labels) in expected.items():
        if types.get(name) != kind:
            yield f"{name} is {types.get(name, 'missing')}, not a {kind}"
            continue
        sample = f"{name}_count" if kind == "histogram" else name
        wrong = scrape.labels(sample) - {frozenset(labels.split())}
        if wrong:
            yield f"{name} has labels {sorted(map(sorted, wrong))}, not {labels}"


async def _traffic(rig: Rig) -> None:
    for path in (rig.items, "/nothing-here", "/health/ready"):
        await rig.client.get(path)
    if rig.dependencies and rig.description.upstreams:
        rig.dependency.reset()
        await rig.upstream()
    if rig.description.database and rig.description.items:
        await rig.client.get(await rig.new_item())


@check(
    "M1",
    "exactly the contract's names, types and labels, and its buckets",
    needs={"metrics"},
)
async def names_and_labels(bench: Bench) -> str:
    rig = await bench.rig()
    await _traffic(rig)
    scrape = await rig.scrape()
    types = _types(scrape.text)
    problems = list(_problems(scrape, types, _expected(bench)))
    buckets = sorted(
        {float(s.labels["le"]) for s in scrape.find("http_request_duration_seconds_bucket")}
    )[:-1]
    if buckets != DURATION_BUCKETS:
        problems.append(f"duration buckets are {buckets}")
    # Business and dependency metrics have the service's name in front, and Python's are its own.
    known = _HTTP.keys() | {name for names in _BY_CAPABILITY.values() for name in names}
    own = (f"{bench.description.prefix}_", "process_", "python_")
    problems += [f"{n} is none of them" for n in types if n not in known and not n.startswith(own)]
    wrong = {s.labels.get("service") for s in scrape.samples if "service" in s.labels} - {
        bench.description.name
    }
    if wrong:
        problems.append(f"label service is {sorted(map(str, wrong))}")
    expect_all(problems)
    return f"{len(types)} metrics, {scrape.series} series, 11 buckets"


@check("M1", "promtool has no complaint", needs={"metrics"})
async def promtool(bench: Bench) -> str:
    program = shutil.which("promtool")
    if program is None:
        raise NotApplicableError("promtool is not installed")
    rig = await bench.rig()
    await _traffic(rig)
    text = (await rig.scrape()).text
    with tempfile.TemporaryDirectory(prefix="conformance-promtool-") as scratch:
        page = Path(scratch) / "metrics"
        page.write_text(text)
        argv = ["sh", "-c", f'"$0" check metrics < "{page}"', program]
        done = await run(argv, base_environment(), scratch)
    expect(done.returncode == 0, f"promtool: {done.tail(6)}")
    return "`promtool check metrics` exit 0"


@check("M1", "OpenMetrics when asked for, the classic text otherwise", needs={"metrics"})
async def formats(bench: Bench) -> str:
    rig = await bench.rig()
    await _traffic(rig)
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    modern = await rig.metrics_client.get(rig.metrics_path, headers=accept)
    classic = await rig.metrics_client.get(rig.metrics_path)
    kind = modern.header("content-type") or ""
    expect(kind.startswith("application/openmetrics-text"), f"asked for OpenMetrics, got {kind}")
    expect(modern.text.endswith("# EOF\n"), "the OpenMetrics page does not end in # EOF")
    expect(
        (classic.header("content-type") or "").startswith("text/plain"),
        "without Accept it is not text/plain",
    )
    return kind


@check("M1", "Prometheus scrapes it and keeps its labels", needs={"process", "metrics"}, own=True)
async def scraped(bench: Bench) -> str:
    if shutil.which("prometheus") is None:
        raise NotApplicableError("prometheus is not installed")
    async with bench.fresh() as rig:
        await _traffic(rig)
        prometheus = Prometheus(rig.metrics_client.port)
        try:
            await prometheus.start()
            query = f'sum by (path) (http_requests_total{{service="{bench.description.name}"}})'
            result = await eventually(lambda: prometheus.query(query), 15, 0.3)
            expect(result, f"{query} has no result")
            up = await prometheus.query("up")
            expect(up and up[0]["value"][1] == "1", f"up is {up}")
            renamed = await prometheus.query('{exported_service!=""}')
            expect(not renamed, "the label service was renamed to exported_service")
            quantile = (
                "histogram_quantile(0.99, sum by (le) (http_request_duration_seconds_bucket))"
            )
            expect(await prometheus.query(quantile), "no latency quantile")
        finally:
            await prometheus.stop()
    return f"up, {len(result)} paths, quantiles answer"


@check(
    "M6",
    "/metrics answers only on the metrics port, which serves nothing else",
    needs={"process", "metrics"},
)
async def own_port(bench: Bench) -> str:
    rig = await bench.rig()
    public = await rig.client.get("/metrics")
    expect(public.status == 404, f"/metrics on the public port is {public.status}")
    for path in ("/", "/health/live", rig.items):
        other = await rig.metrics_client.get(path)
        expect(other.status == 404, f"{path} on the metrics port is {other.status}")
    return "404 on the public port; 404 for everything else on the metrics port"


@check(
    "M6",
    "breaker, cache and dependency series start at zero; no _created series",
    needs={"process"},
    own=True,
)
async def zero_series(bench: Bench) -> str:
    async with bench.fresh() as rig:
        scrape = await rig.scrape()
        accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
        modern = await rig.metrics_client.get(rig.metrics_path, headers=accept)
    expect("_created" not in scrape.text + modern.text, "there are _created series")
    problems = []
    if "dependency" in bench.description.capabilities:
        for dependency in bench.description.dependencies:
            states = {
                s.labels["state"]: s.value
                for s in scrape.find("circuit_breaker_state", dependency=dependency)
            }
            if states != {"closed": 1.0, "open": 0.0, "half_open": 0.0}:
                problems.append(f"circuit_breaker_state of {dependency} starts as {states}")
        calls = list(scrape.find(f"{_dependency_prefix(bench)}_requests_total"))
        if not calls or any(sample.value for sample in calls):
            problems.append(f"the dependency's request counter starts as {calls}")
    if bench.description.cache:
        cache = list(scrape.find("cache_operations_total"))
        results = {sample.labels.get("result") for sample in cache}
        if results != {"hit", "miss", "error"} or any(sample.value for sample in cache):
            problems.append(f"cache_operations_total starts with results {results}")
    expect_all(problems)
    return f"{scrape.series} series before the first request"


@check(
    "M6",
    "duration buckets of sampled requests carry the trace id as an exemplar",
    needs={"process", "metrics"},
)
async def exemplars(bench: Bench) -> str:
    rig = await bench.rig()
    trace_id, parent = new_trace()
    await rig.client.get(rig.items, headers={"traceparent": parent})
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}

    async def page() -> list[str]:
        text = (await rig.metrics_client.get(rig.metrics_path, headers=accept)).text
        return [line for line in text.splitlines() if trace_id in line]

    lines: list[str] = await eventually(page, 2)
    expect(lines, "no exemplar carries the trace id of a sampled request")
    expect(
        lines[0].startswith("http_request_duration_seconds_bucket"),
        f"the exemplar stands on {lines[0][:60]}",
    )
    return lines[0][-90:]
