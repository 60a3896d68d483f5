"""Instructions per request, counted by valgrind: the figure that repeats, to about one percent."""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benchmarks.collector import Collector
from benchmarks.services import Service, scratch_directory, work_directory

PROFILE_LINES = 40


@dataclass(frozen=True, slots=True)
class Instructions:
    """What one request took, on the average of many."""

    per_request: float
    spans: float
    lines: float


def count(
    service: Service,
    collector: Collector,
    requests: int = 1024,
    options: Sequence[str] = (),
    hash_seed: int = 0,
) -> Instructions:
    """Send requests to the application inside its own process, and count what they execute.

    Args:
        service: what is counted.
        collector: where its spans go.
        requests: how many.
        options: for `inprocess.py`.
        hash_seed: decides how Python's dictionaries lie in memory, and with it up to one percent.

    Raises:
        AssertionError: a request was not logged or a sampled one not exported: speed for work not done.
    """
    out = scratch_directory("count") / "callgrind.out"
    command = ["valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no"]
    command += [f"--callgrind-out-file={out}", str(service.python), "-m", "benchmarks.inprocess"]
    command += [service.app, str(requests), *options]
    log = out.with_name("log")
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=work_directory(service),
            env=service.environment(collector) | {"PYTHONHASHSEED": str(hash_seed)},
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None and process.stderr is not None
        try:
            _wait_for("ready", process.stderr)
            spans, lines = collector.spans, _lines(log)
            _control(process.pid, "-i", "on")
            process.stdin.write("\n")
            process.stdin.flush()
            _wait_for("done", process.stderr)
            _control(process.pid, "-d", "counted")
        finally:
            process.kill()
            process.communicate()
    dump = out.with_name(f"{out.name}.1").read_text()
    total = re.search(r"^(?:summary|totals): (\d+)", dump, re.MULTILINE)
    assert total is not None
    counted = Instructions(
        int(total[1]) / requests,
        (collector.spans - spans) / requests,
        (_lines(log) - lines) / requests,
    )
    _check(service, counted)
    return counted


def profile(service: Service, collector: Collector) -> str:
    """Where the time of a request goes, by Python function."""
    command = [str(service.python), "-m", "cProfile", "-s", "tottime"]
    command += ["-m", "benchmarks.inprocess", service.app, "2000"]
    printed = subprocess.run(
        command,
        cwd=work_directory(service),
        env=service.environment(collector),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    ).stdout
    # The log lines are on standard output as well.
    lines = [line for line in printed.splitlines() if not line.startswith("{")]
    return "\n".join(lines[:PROFILE_LINES])


def _check(service: Service, counted: Instructions) -> None:
    sampled = service.sampled or 0.0
    assert counted.lines >= service.logs, f"{service.name}: {counted.lines} log lines per request"
    least = sampled * (1.0 if sampled in (0.0, 1.0) else 0.5)
    assert counted.spans >= least, f"{service.name}: {counted.spans} spans per request"


def _lines(log: Path) -> int:
    return log.read_bytes().count(b"\n")


def _control(pid: int, *arguments: str) -> None:
    command = ["callgrind_control", *arguments, str(pid)]
    subprocess.run(command, check=True, capture_output=True)


def _wait_for(word: str, lines: IO[str]) -> None:
    said = []
    for line in lines:
        if line.strip() == word:
            return
        said.append(line)
    raise AssertionError(f"ended before it said {word}:\n{''.join(said)}")
