"""The end of the process, whatever hangs or fails, by its exit code and its lines."""

import json
import signal
import subprocess
import sys
from typing import Any

import pytest

LIMIT = 60.0
PROCESS = """
import asyncio, os, signal, sys, threading, time
from contextlib import asynccontextmanager
from chassis import NATIVE_TELEMETRY_OFF, install, logging, server
from chassis.configuration import load
from chassis.settings import ChassisSettings
from fastapi import FastAPI

case = sys.argv[1]
if case in ("thread", "lifespan"):
    server.EXIT_SECONDS = 0.1

@asynccontextmanager
async def lifespan(app):
    if case == "start":
        raise RuntimeError("no start today")
    if case == "thread":
        threading.Thread(target=time.sleep, args=(60,)).start()
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    yield
    if case == "stop":
        raise RuntimeError("no stop today")
    if case == "lifespan":
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

logging.configure(service="a", version="1", environment="development")
settings = load(ChassisSettings, _env_file=None, host="127.0.0.1", port=0, drain_seconds=0)
app = FastAPI(telemetry=NATIVE_TELEMETRY_OFF, lifespan=lifespan)
install(app, settings)
raise SystemExit(server.serve(app, settings))
"""


def run_process(case: str) -> tuple[int, list[dict[str, Any]]]:
    """The exit code of a process that is told to end after half a second, and what it logs above INFO."""
    command = [sys.executable, "-c", PROCESS, case]
    finished = subprocess.run(command, timeout=LIMIT, capture_output=True, text=True)
    assert finished.stderr == ""
    entries = [json.loads(line) for line in finished.stdout.splitlines()]
    return finished.returncode, [entry for entry in entries if entry["level"] != "INFO"]


@pytest.mark.criterion("H4")
@pytest.mark.parametrize(
    ("case", "code", "event"),
    [("thread", 0, "threads_abandoned"), ("lifespan", 128 + signal.SIGTERM, "exit_forced")],
)
def test_what_hangs_does_not_hold_the_exit(case: str, code: int, event: str) -> None:
    """Python waits for its threads, as the event loop does for those of `to_thread`, and uvicorn for the lifespan."""
    exit_code, (entry,) = run_process(case)
    assert (exit_code, entry["message"]) == (code, event)


@pytest.mark.criterion("L5")
@pytest.mark.parametrize(
    ("case", "code", "event"), [("start", 1, "startup_failed"), ("stop", 0, "shutdown_failed")]
)
def test_a_lifespan_that_fails_is_logged_once(case: str, code: int, event: str) -> None:
    exit_code, (entry, uvicorns) = run_process(case)
    assert (exit_code, entry["message"]) == (code, event)
    assert entry["exception"]["message"] == f"no {case} today"
    assert uvicorns["message"].startswith("Application ")
    assert "exception" not in uvicorns
