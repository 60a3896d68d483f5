"""The process from outside: what it prints, what it answers, how it ends."""

import signal
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import httpx2
import pytest

from app.settings import Settings
from chassis import service

Run = Callable[..., Any]


@pytest.mark.criterion("L1")
@pytest.mark.criterion("X1")
def test_it_serves_and_every_line_is_json(run: Run) -> None:
    process = run()
    with process.started() as client:
        unknown = client.get("/nowhere?token=hunter2")
        assert (unknown.status_code, unknown.json()["error"]) == (404, "Not Found")
        if find_spec("app.items"):
            created = client.post("/items", json={"name": "one"})
            assert created.status_code == 201
            assert client.get(created.headers["Location"]).json() == created.json()
    process.signal(signal.SIGTERM)
    assert process.end() == 0
    assert process.lines[-1]["message"] == "service_stopped"
    assert "hunter2" not in str(process.lines)
    (line,) = (line for line in process.lines if line.get("path") == "/nowhere")
    assert line["trace_id"] == unknown.headers["X-Trace-ID"]


@pytest.mark.criterion("M6")
def test_metrics_have_a_port_of_their_own(run: Run) -> None:
    process = run()
    with process.started() as client:
        client.get("/nowhere")
        base = f"http://127.0.0.1:{process.ports['metrics_port']}"
        metrics, other = httpx2.get(f"{base}/metrics"), httpx2.get(f"{base}/health/live")
        assert client.get("/metrics").status_code == 404
    assert (
        f'service_info{{environment="development",service="{service.read().name}"' in metrics.text
    )
    assert 'path="__unmatched__",' in metrics.text
    assert (other.status_code, other.json()["error"]) == (404, "Not Found")
    assert other.headers["X-Trace-ID"] == other.json()["trace_id"]


@pytest.mark.criterion("H4")
def test_sigterm_drains_and_a_second_signal_forces(run: Run) -> None:
    process = run(DRAIN_SECONDS="600")
    with process.started() as client:
        process.signal(signal.SIGTERM)
        process.line("draining")
        ready, live = client.get("/health/ready"), client.get("/health/live")
        assert (ready.status_code, live.status_code) == (503, 200)
        assert ready.json()["details"]["state"] == "draining"
        assert ready.headers["Connection"] == live.headers["Connection"] == "close"
        process.signal(signal.SIGTERM)
        assert process.end() == 128 + signal.SIGTERM


@pytest.mark.criterion("H4")
def test_after_the_drain_it_ends_well(run: Run) -> None:
    process = run(DRAIN_SECONDS="0.2")
    process.started().close()
    process.signal(signal.SIGTERM)
    assert process.end() == 0


@pytest.mark.criterion("H4")
def test_sigint_skips_the_drain(run: Run) -> None:
    process = run(DRAIN_SECONDS="600")
    process.started().close()
    process.signal(signal.SIGINT)
    assert process.end() == 0


@pytest.mark.criterion("S3")
def test_a_wrong_configuration_is_one_line_that_names_everything(run: Run) -> None:
    wrong = {"ENVIRONMENT": "production", "LOG_FORMAT": "console", "ALLOWED_ORIGINS": "*"}
    missing = {"DATABASE_URL", "REDIS_URL"} & {name.upper() for name in Settings.model_fields}
    process = run(**wrong, REQUEST_TIMEOUT="soon", **dict.fromkeys(missing, ""))
    assert process.end() == 78
    (line,) = (line for line in process.lines if line["level"] == "CRITICAL")
    named = {problem["variable"] for problem in line["problems"]}
    assert named == {"LOG_FORMAT", "ALLOWED_ORIGINS", "REQUEST_TIMEOUT"} | missing
    assert "exception" not in line


@pytest.mark.criterion("S3")
@pytest.mark.criterion("L1")
def test_a_wrong_variable_that_is_read_while_importing_is_such_a_line_too(run: Run) -> None:
    process = run(OTEL_PROPAGATORS="tracecontext,pigeon", OTEL_EXPORTER_OTLP_TIMEOUT="10s")
    assert process.end() == 78
    (line,) = process.lines
    named = {problem["variable"] for problem in line["problems"]}
    assert named == {"OTEL_PROPAGATORS", "OTEL_EXPORTER_OTLP_TIMEOUT"}


@pytest.mark.criterion("S5")
def test_migrating_twice_is_fine(run: Run) -> None:
    assert [run("migrate").end() for _ in "12"] == [0, 0]


def test_a_port_in_use_is_a_clean_error(run: Run) -> None:
    first = run()
    first.started().close()
    second = run(PORT=str(first.ports["port"]), METRICS_PORT="0")
    assert second.end() != 0
    errors = [line for line in second.lines if line["level"] in ("ERROR", "CRITICAL")]
    assert errors
    assert "address already in use" in str(errors).lower()
    assert "Traceback" not in str(second.lines)
