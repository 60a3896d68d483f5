"""Measure everything, print a table, and write docs/performance.md with its plot.

make bench               about half an hour on a quiet machine
make bench ARGS=--quick  a look, a few minutes
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import instructions, load, report, services
from benchmarks.collector import Collector, collector
from benchmarks.report import Growth, Results
from benchmarks.services import ALL, BARE, COPY, OURS, Service
from tests.harness import Renderer, git, snapshot

READ = "in-memory read"
FLAT = {
    "5 routes": ["--routes", "5"],
    "500 routes": ["--routes", "500"],
    "10 series": ["--series", "10"],
    "5,000 series": ["--series", "5000"],
}
COPIER = str(Path(sys.executable).with_name("copier"))
QUIETLY = ["--quiet", "--defaults", "--vcs-ref=HEAD"]
HASH_SEEDS = range(4)
"""The mean of several: what a seed does to a walk past 500 routes is half of what the chassis adds."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How often everything is measured."""

    requests: int
    rounds: int
    wrk_seconds: int
    endurance: int


FULL = Effort(requests=1024, rounds=60, wrk_seconds=10, endurance=200_000)
QUICK = Effort(requests=256, rounds=12, wrk_seconds=3, endurance=20_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer requests, more noise")
    options = parser.parse_args()
    effort = QUICK if options.quick else FULL
    for tool in ("valgrind", "wrk", "taskset"):
        if shutil.which(tool) is None:
            parser.exit(1, f"{tool} is needed: apt install valgrind wrk util-linux\n")
    say("rendering and installing a service, installing the peers")
    services.prepare()
    results = Results(quick=options.quick)
    with collector() as spans:
        count(results, spans, effort)
        serve(results, spans, effort)
        grow(results, spans, effort)
    results.scrape = told_by("scrape", "1000")
    time_template(results)
    print(report.as_text(results))
    report.write(results)


def count(results: Results, spans: Collector, effort: Effort) -> None:
    """Instructions per request of every application."""
    for service in ALL:
        counted = instructions.count(service, spans, effort.requests)
        results.instructions[service.name] = counted.per_request
        say(f"{service.name}: {counted.per_request:,.0f} instructions a request")


def serve(results: Results, spans: Collector, effort: Effort) -> None:
    """CPU time, latency, start and memory of every application as a server."""
    measured = [BARE, COPY, *(service for service in ALL if service is not BARE)]
    for service in ALL:
        starts = sorted(load.start_to_ready(service, spans) for _ in range(5))
        results.start_seconds[service.name] = starts[2]
    with ExitStack() as stack:
        servers = [stack.enter_context(load.running(service, spans)) for service in measured]
        for route in load.ROUTES:
            rounds = effort.rounds if route == READ else effort.rounds // 3
            say(f"CPU time of {route}: {rounds} rounds of {len(servers)} slices")
            load.measure_cpu(servers, route, rounds)
            for server in servers:
                compared = load.compare(servers[0], server, route)
                results.cpu.setdefault(route, {})[server.service.name] = compared
        for server in servers:
            results.resident_mb[server.service.name] = load.resident_mb(server.pid)
        for server in servers:
            say(f"wrk on {server.service.name}")
            results.latency[server.service.name] = load.wrk(server, effort.wrk_seconds)


def grow(results: Results, spans: Collector, effort: Effort) -> None:
    """Whether a request costs the same with more routes, more series, and after more requests."""

    def counted(service: Service) -> float:
        requests = effort.requests // len(HASH_SEEDS)
        return statistics.mean(
            instructions.count(service, spans, requests, options, seed).per_request
            for seed in HASH_SEEDS
        )

    for label, options in FLAT.items():
        bare = counted(BARE) if "--routes" in options else None
        ours = counted(OURS[0.1])
        results.growth[label] = Growth(ours, bare)
        say(f"with {label}: {ours:,.0f} instructions a request")
    results.endurance = told_by("endurance", str(effort.endurance))
    results.endurance["requests"] = effort.endurance


def told_by(module: str, *arguments: str) -> dict[str, float]:
    """Run one of the measuring modules in the render; it tells its figures in its last line."""
    service: Service = OURS[0.0]
    command = [str(service.python), "-m", f"benchmarks.{module}", *arguments]
    environment = {"PYTHONPATH": str(services.ROOT), "OTEL_TRACES_SAMPLER": "always_off"}
    finished = subprocess.run(
        command,
        cwd=services.RENDER,
        env=environment,
        check=True,
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    figures: dict[str, float] = json.loads(finished.stderr.splitlines()[-1])
    return figures


def time_template(results: Results) -> None:
    """How long the template itself makes people wait."""
    scratch = services.BUILD / "template-times"
    template = snapshot(scratch / "template")
    results.template["`copier --version`: Copier itself"] = median_of_5(
        lambda: seconds([COPIER, "--version"])
    )
    copied, updated = copier_takes(template, scratch / "project")
    results.template["`copier copy`, all defaults"] = copied
    results.template["`copier update` to a next version"] = updated
    hollow = hollow_template(scratch / "hollow", scratch / "project")
    copied, updated = copier_takes(hollow, scratch / "hollow-project")
    results.template["`copier copy` of as many empty files, no question"] = copied
    results.template["`copier update` of these"] = updated
    fresh = Renderer(template)(scratch / "fresh")
    install = seconds(["make", "install"], fresh)
    results.template["`make install` in a fresh render, packages cached"] = install
    first = install + seconds(["make", "test"], fresh)
    results.template["fresh render to its first green `make test`, with that"] = first
    results.template["`make test` from then on"] = seconds(["make", "test"], fresh)


def copier_takes(template: Path, project: Path) -> tuple[float, float]:
    """How long `copier copy` and `copier update` take, in seconds."""
    # As a clone from a forge is: Copier makes up to five clones of it.
    git(template, "gc", "--quiet")

    def copy() -> float:
        shutil.rmtree(project, ignore_errors=True)
        return seconds([COPIER, "copy", *QUIETLY, str(template), str(project)])

    copied = median_of_5(copy)
    git(project, "init", "--quiet")

    def update() -> float:
        commit_all(project)
        (template / "template" / "added.txt").write_text(f"new at {time.time_ns()}\n")
        commit_all(template)
        return seconds([COPIER, "update", *QUIETLY], project)

    updated = median_of_5(update)
    assert (project / "added.txt").exists()
    return copied, updated


def hollow_template(directory: Path, project: Path) -> Path:
    """A template with the files of `project`, all empty: what Copier takes for their number alone."""
    for file in git(project, "ls-files").splitlines():
        empty = directory / "template" / file
        empty.parent.mkdir(parents=True, exist_ok=True)
        empty.touch()
    (directory / "copier.yml").write_text("_subdirectory: template\n")
    answers = directory / "template" / ".copier-answers.yml"
    answers.rename(f"{answers}.jinja").write_text("{{ _copier_answers | to_nice_yaml }}\n")
    git(directory, "init", "--quiet")
    commit_all(directory)
    return directory


def median_of_5(measure: Callable[[], float]) -> float:
    return statistics.median(measure() for _ in range(5))


def seconds(command: Sequence[str], directory: Path | None = None) -> float:
    """How long a command takes."""
    started = time.perf_counter()
    subprocess.run(command, cwd=directory, check=True, capture_output=True)
    return time.perf_counter() - started


def commit_all(directory: Path) -> None:
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--message=Next")


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
