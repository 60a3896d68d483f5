"""The results as a table in the terminal, and as docs/performance.md with its plot."""

import json
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.load import Comparison, Latency
from benchmarks.services import ALL, BARE, BUILD, COPY, PEERS, RENDER, ROOT

READ = "in-memory read"
QUIET = (0.97, 1.03)
DOCS = ROOT / "docs"
MARK = "<!-- Below is written by `make bench`. -->\n"


@dataclass(frozen=True, slots=True)
class Growth:
    """Instructions per request of ours, and of bare where routes are many for it as well."""

    ours: float
    bare: float | None


@dataclass(slots=True)
class Results:
    """All that was measured, by application."""

    quick: bool
    instructions: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, dict[str, Comparison]] = field(default_factory=dict)
    latency: dict[str, Latency] = field(default_factory=dict)
    start_seconds: dict[str, float] = field(default_factory=dict)
    resident_mb: dict[str, float] = field(default_factory=dict)
    growth: dict[str, Growth] = field(default_factory=dict)
    endurance: dict[str, float] = field(default_factory=dict)
    scrape: dict[str, float] = field(default_factory=dict)
    template: dict[str, float] = field(default_factory=dict)

    @property
    def quiet(self) -> bool:
        """Whether the machine was quiet enough for CPU times to be judged: bare equals bare."""
        return bool(self.cpu) and QUIET[0] <= self.cpu[READ][COPY.name].ratio <= QUIET[1]


def rows(results: Results) -> list[list[str]]:
    """One row for each application: the in-memory read, bare over it."""
    head = ["", "instructions", "bare / it"]
    names = [BARE.name, *(service.name for service in ALL if service is not BARE)]
    if results.cpu:
        names.insert(1, COPY.name)
        head += [
            "CPU µs",
            "bare / it",
            "quartiles",
            "p50 ms",
            "p99 ms",
            "requests/s",
            "ready s",
            "MB",
        ]
    base = results.instructions[BARE.name]
    table = [head]
    for name in names:
        counted = results.instructions.get(name)
        row = [
            name,
            *(("", "") if counted is None else (f"{counted:,.0f}", f"{base / counted:.2f}")),
        ]
        if results.cpu and name not in results.cpu[READ]:
            row += [""] * (len(head) - len(row))
        elif results.cpu:
            cpu, latency = results.cpu[READ][name], results.latency[name]
            row += [
                f"{cpu.microseconds:.0f}",
                f"{cpu.ratio:.2f}",
                f"{cpu.low:.2f} to {cpu.high:.2f}",
            ]
            row += [f"{latency.p50_ms:.1f}", f"{latency.p99_ms:.1f}", f"{latency.per_second:,.0f}"]
            start = results.start_seconds.get(name)
            row += ["" if start is None else f"{start:.2f}", f"{results.resident_mb[name]:.0f}"]
        table.append(row)
    return table


def as_text(results: Results) -> str:
    """The table for a terminal."""
    table = rows(results)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in table]
    return "\n".join(["", *lines, "", noise(results)])


def noise(results: Results) -> str:
    """What the second copy of bare says of the CPU times."""
    if not results.cpu:
        return "CPU times were not measured in this run."
    ratio = results.cpu[READ][COPY.name].ratio
    if results.quiet:
        return f"The machine was quiet: a second copy of bare came to {ratio:.2f} of the first."
    return (
        f"CPU times are NOT to be judged: a second copy of bare came to {ratio:.2f} of the first, "
        f"outside {QUIET[0]} to {QUIET[1]}. Other work was on the machine."
    )


def write(results: Results) -> None:
    """Write the document's measured part and the plot."""
    figures = BUILD / "results.json"
    figures.write_text(json.dumps(asdict(results), indent=1))
    plot = [str(PEERS / "bin" / "python"), "-m", "benchmarks.plot", str(figures)]
    subprocess.run([*plot, str(DOCS / "performance.svg")], cwd=ROOT, check=True)
    document = DOCS / "performance.md"
    kept = document.read_text().partition(MARK)[0] if document.exists() else "# Performance\n\n"
    document.write_text(kept + MARK + "\n" + "\n".join(_sections(results)))


def _sections(results: Results) -> list[str]:
    lines = [*_circumstances(results), "", "## The in-memory read", "", *_markdown(rows(results))]
    lines += ["", noise(results), ""]
    for route, compared in results.cpu.items():
        if route != READ:
            lines += [f"## {route}", ""]
            table = [["", "CPU µs", "bare / it", "quartiles"]]
            for name, cpu in compared.items():
                spread = f"{cpu.low:.2f} to {cpu.high:.2f}"
                table.append([name, f"{cpu.microseconds:.0f}", f"{cpu.ratio:.2f}", spread])
            lines += [*_markdown(table), ""]
    return [*lines, *_growth(results), *_template(results)]


def _circumstances(results: Results) -> list[str]:
    model = next(
        line.partition(": ")[2]
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    listed = subprocess.run(
        [str(RENDER / ".venv/bin/python"), "-c", _VERSIONS],
        capture_output=True,
        text=True,
        check=True,
    )
    effort = "a quick look" if results.quick else "a full run"
    return [
        f"Measured on {datetime.now(UTC):%Y-%m-%d}, {effort}, on {model}, Python "
        f"{platform.python_version()}, {listed.stdout.strip()}.",
    ]


_VERSIONS = """
from importlib.metadata import version
names = "fastapi", "starlette", "uvicorn", "uvloop", "pydantic", "opentelemetry-sdk", "prometheus-client"
print(", ".join(f"{name} {version(name)}" for name in names))
"""


def _growth(results: Results) -> list[str]:
    table = [["with", "instructions", "of which bare"]]
    for label, growth in results.growth.items():
        table.append([label, f"{growth.ours:,.0f}", f"{growth.bare:,.0f}" if growth.bare else ""])
    lines = ["## Growth, at 10% sampling", "", *_markdown(table), ""]
    if end := results.endurance:
        lines.append(
            f"CPU time of a request in a process that has just warmed up: {end['first_us']:.0f} µs; after "
            f"{end['requests']:,.0f} requests more: {end['last_us']:.0f} µs. The process had grown by "
            f"{end['grown_kb']:,.0f} kB."
        )
    if scrape := results.scrape:
        lines.append(
            f"A scrape with 1,000 series takes {scrape['scrape_ms']:.0f} ms in a thread of its own; the "
            f"longest time that the loop had to wait meanwhile was {scrape['longest_gap_ms']:.0f} ms."
        )
    return [*lines, ""]


def _template(results: Results) -> list[str]:
    table = [["", "seconds"], *([name, f"{s:.1f}"] for name, s in results.template.items())]
    return ["## The template itself", "", *_markdown(table), ""]


def _markdown(table: list[list[str]]) -> list[str]:
    head, *body = table
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return ["| " + " | ".join(line) + " |" for line in lines]
