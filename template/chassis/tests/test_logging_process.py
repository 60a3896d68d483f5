"""L1, L9: what `configure` does to a process, and what leaves it."""

import io
import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

import chassis.logging
from chassis.logging import JsonFormatter, LineHandler, configure

FACTS: dict[str, str] = {"service": "user-service", "version": "1.2.3", "environment": "staging"}
logger = logging.getLogger("app.items")


def strict(line: str) -> dict[str, Any]:
    assert line.isascii() and line.isprintable()
    fields: dict[str, Any] = json.loads(line)
    return fields


def set_up(level: str = "INFO", stream: TextIO | None = None) -> None:
    configure(
        service="user-service", version="1.2.3", environment="staging", level=level, stream=stream
    )


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """What `configure` changes is the process's: put it back."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, warnings.showwarning)
    hooks = (sys.excepthook, threading.excepthook, sys.unraisablehook)
    yield
    root.handlers[:], root.level, warnings.showwarning = before
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    logging.getLogger("uvicorn.access").disabled = False


def test_configuring_again_replaces_the_own_handler_and_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """L9."""
    root = logging.getLogger()
    foreign = root.handlers[:]
    first, second = io.StringIO(), io.StringIO()
    set_up(stream=first)
    configure(service="other", version="1", environment="staging", stream=second)
    assert [handler for handler in root.handlers if handler not in foreign] == [root.handlers[-1]]
    logger.info("once")
    assert first.getvalue() == ""
    assert strict(second.getvalue()[:-1])["service"] == "other"
    assert "once" in caplog.messages


def test_stdout_is_looked_up_for_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    """L9: a runner's capture that came later still sees the lines."""
    set_up()
    logger.info("captured")
    captured = capsys.readouterr()
    assert strict(captured.out[:-1])["message"] == "captured"
    assert captured.err == ""


def test_the_level_is_honoured_and_a_wrong_one_refused() -> None:
    stream = io.StringIO()
    set_up(level="warning", stream=stream)
    logger.info("hidden")
    logger.warning("shown")
    assert "hidden" not in stream.getvalue() and "shown" in stream.getvalue()
    with pytest.raises(ValueError, match="LOUD"):
        set_up(level="LOUD")


def test_the_server_s_records_go_the_common_way(caplog: pytest.LogCaptureFixture) -> None:
    """L1, L4: no handlers of its own, no second access log, no terminal codes."""
    server = logging.getLogger("uvicorn.error")
    caplog.set_level(logging.INFO, server.name)  # a server that ran in this process left its own
    server.addHandler(logging.StreamHandler())
    server.propagate = False
    set_up(stream=(stream := io.StringIO()))
    server.info("Started", extra={"color_message": "\x1b[1mStarted"})
    logging.getLogger("uvicorn.access").info("GET / 200")
    [line] = [strict(line) for line in stream.getvalue().splitlines()]
    assert (line["logger"], line["message"]) == ("uvicorn.error", "Started")
    assert "color_message" not in line


def test_warnings_become_lines() -> None:
    """L1."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        set_up(stream=(stream := io.StringIO()))
        warnings.warn("careful, password=hunter2", UserWarning, stacklevel=1)
    line = strict(stream.getvalue()[:-1])
    assert (line["level"], line["logger"]) == ("WARNING", "py.warnings")
    assert (line["message"], line["category"]) == ("careful, password=***", "UserWarning")


@pytest.mark.parametrize("stream", [io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()])
def test_a_stream_that_fails_makes_no_noise(stream: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """L1: a service does not die of its log."""
    stream.close()
    set_up(stream=stream)
    logger.info("nowhere")
    assert capfd.readouterr().err == ""


def run(script: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    source = Path(chassis.logging.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONWARNINGS": "default"}
    start = "from chassis.logging import configure\nconfigure(service='s', version='1', environment='staging')\n"
    return subprocess.run(
        [sys.executable, "-c", start + textwrap.dedent(script)],
        env=environment,
        text=True,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
        **options,
    )


def test_whatever_nobody_catches_becomes_a_line() -> None:
    """L1, L5: in the main thread, in another, in a destructor, in the event loop; stderr stays empty."""
    result = run(
        """
        import asyncio, threading, warnings

        class Sloppy:
            def __del__(self):
                raise ValueError("unraisable")

        async def forgotten():
            raise ValueError("never awaited")

        async def main():
            task = asyncio.create_task(forgotten())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            del task
            asyncio.get_running_loop().call_soon(lambda: 1 / 0)
            await asyncio.sleep(0)

        warnings.warn("careful")
        thread = threading.Thread(target=lambda: [][0], name="worker")
        thread.start()
        thread.join()
        Sloppy()
        asyncio.run(main())
        raise LookupError("password=hunter2")
        """,
        stdout=subprocess.PIPE,
    )
    lines = [strict(line) for line in result.stdout.splitlines()]
    assert (result.returncode, result.stderr) == (1, "")
    assert sorted(
        (line["logger"], line.get("exception", {}).get("type")) for line in lines if line["logger"]
    ) == [
        ("asyncio", "ValueError"),
        ("asyncio", "ZeroDivisionError"),
        ("chassis", "IndexError"),
        ("chassis", "LookupError"),
        ("chassis", "ValueError"),
        ("py.warnings", None),
    ]
    assert [line["in_thread"] for line in lines if "in_thread" in line] == ["worker"]
    assert "hunter2" not in result.stdout


def test_an_interrupt_is_no_failure() -> None:
    """L1: Ctrl-C is what somebody wanted, so no traceback."""
    result = run("raise KeyboardInterrupt", stdout=subprocess.PIPE)
    line = strict(result.stdout[:-1])
    assert (line["level"], line["message"], result.stderr) == ("INFO", "interrupted", "")


def test_a_reader_that_went_away_makes_no_noise() -> None:
    """L1: neither while the service logs nor when Python flushes stdout at its end."""
    reader, writer = os.pipe()
    os.close(reader)
    result = run(
        "import logging\nfor n in range(99): logging.getLogger().info('x' * 5000)", stdout=writer
    )
    os.close(writer)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_line_is_one_write() -> None:
    """L1: lines of several threads or processes do not mix."""
    written: list[str] = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    handler = LineHandler(Stream())
    handler.setFormatter(JsonFormatter(**FACTS))
    handler.handle(logging.makeLogRecord({"msg": "x"}))
    assert len(written) == 1 and written[0].endswith("}\n")
