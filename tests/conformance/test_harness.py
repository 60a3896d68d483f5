"""Bad services and interruptions: reported in bounded time, with the last output, nothing left behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conformance.conftest import SEED, Judge
from conformance.description import Description, DescriptionError, load
from conformance.process import free_port
from conformance.registry import Verdict
from conformance.runner import SelectionError

TESTS = Path(__file__).resolve().parents[1]
BAD = Path(__file__).parent / "fixtures" / "bad" / "service.py"


def bad(kind: str) -> Description:
    command = ("{python}", str(BAD), kind)
    return Description(
        name="bad-service", command=command, commands=False, items=None, openapi=None
    )


def descendants(pid: int) -> set[tuple[int, str]]:
    """Return the processes below a process, with their start times, since ids are used again."""
    stats = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        stats[int(entry.parent.name)] = (int(fields[1]), fields[19], fields[0])
    below: set[int] = set()
    border = {pid}
    while border:
        border = {child for child, (parent, _, _) in stats.items() if parent in border} - below
        below |= border
    return {(child, stats[child][1]) for child in below if stats[child][2] != "Z"}


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory for temporary files that PostgreSQL's user may enter, too."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


@contextmanager
def command(*arguments: str, scratch: Path) -> "Iterator[subprocess.Popen[str]]":
    env = {**os.environ, "PYTHONPATH": str(TESTS), "TMPDIR": str(scratch)}
    with subprocess.Popen(
        [sys.executable, "-m", "conformance", *arguments],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        try:
            yield run
        finally:
            run.kill()


@pytest.mark.parametrize(
    ("kind", "reason", "output"),
    [
        ("exits", "exited with code 3", "no licence found"),
        ("silent", "no answer", "listening"),
        ("garbage", "garbage", None),
    ],
)
def test_a_service_that_cannot_be_judged_is_reported_with_its_last_output(
    kind: str, reason: str, output: str | None, judge: Judge
) -> None:
    before = descendants(os.getpid())
    started = time.monotonic()
    report = judge(bad(kind), ["H1", "E2"])
    assert time.monotonic() - started < 40
    results = [result for found in report.results.values() for result in found]
    judged = [result for result in results if result.verdict is not Verdict.NOT_APPLICABLE]
    assert {result.verdict for result in judged} == {Verdict.ERROR}
    assert reason in judged[0].measured
    assert output is None or any(output in result.output for result in judged)
    assert not report.holds
    assert descendants(os.getpid()) <= before


def test_a_program_that_does_not_exist_is_reported(judge: Judge) -> None:
    report = judge(Description(name="none", command=("/no/such/program",)), ["live"])
    assert report.verdict("H1") is Verdict.ERROR


def test_a_service_that_ignores_signals_is_ended_with_its_children(judge: Judge) -> None:
    before = descendants(os.getpid())
    report = judge(bad("stubborn"), ["draining"])
    assert report.verdict("H4") is Verdict.FAIL
    assert descendants(os.getpid()) <= before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing_behind(number: signal.Signals, scratch: Path) -> None:
    with command("--service", str(SEED), "--only", "B,D", scratch=scratch) as run:
        deadline = time.monotonic() + 60
        below: set[tuple[int, str]] = set()
        while len(below) < 8 and time.monotonic() < deadline and run.poll() is None:
            time.sleep(0.1)
            below = descendants(run.pid)
        assert len(below) >= 8
        run.send_signal(number)
        run.send_signal(number)
        output = run.communicate(timeout=30)
    assert run.returncode == 130, output
    deadline = time.monotonic() + 5
    while below & descendants(1) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert below & descendants(1) == set()
    assert list(scratch.iterdir()) == []


def test_a_running_service_is_audited_over_http(scratch: Path) -> None:
    port = free_port()
    service = subprocess.Popen(
        [sys.executable, BAD, "plain"], env={**os.environ, "PORT": str(port)}
    )
    description = scratch / "running.toml"
    description.write_text(f'name = "old-service"\nbase_url = "http://127.0.0.1:{port}"\n')
    page = scratch / "report.html"
    try:
        with command(
            "--service", str(description), "--audit", "--html", str(page), scratch=scratch
        ) as run:
            output, errors = run.communicate(timeout=120)
    finally:
        service.kill()
        service.wait()
    assert run.returncode == 1, errors
    assert "The ten improvements in old-service" in output
    assert "7 Health and shutdown" in output
    assert "X-Trace-ID is None" in output
    assert "old-service: contract conformance" in page.read_text()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "`name` and one of"),
        ('name = "x"', "`name` and one of"),
        ('name = "x"\ncommand = ["y"]\nflavour = 1', "unknown keys flavour"),
        ('name = "x"\ncommand = ["y"]\n[features]\nqueue = true', "unknown queue"),
        ("name =", "Invalid value"),
    ],
)
def test_a_wrong_description_is_refused(text: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "description.toml"
    path.write_text(text)
    with pytest.raises(DescriptionError, match=complaint):
        load(path)


def test_a_wrong_name_is_refused(judge: Judge) -> None:
    with pytest.raises(SelectionError, match="Z9"):
        judge(bad("plain"), ["Z9"])


def test_help_and_list_need_no_service(scratch: Path) -> None:
    with command("--help", scratch=scratch) as run:
        usage = run.communicate(timeout=30)[0]
    with command("--list", scratch=scratch) as run:
        listed = run.communicate(timeout=30)[0]
    assert "--service" in usage
    assert "H4" in listed and "(white box)" in listed
