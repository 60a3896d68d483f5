"""Structured logging (L): every line on stdout is one JSON object, whoever wrote it.

`configure()` is called once, by the entry point. From then on the application's records, the server's, Python's
warnings and whatever nobody caught leave through one handler on the root logger.

    logger = logging.getLogger(__name__)
    logger.info("item_created", extra={"item_id": item.id})

An extra that is called like a standard field (`level`, `service`, ...) is written as `extra_level`. Names of
`LogRecord` attributes (`name`, `args`, `module`, `message`, ...) are refused by `logging` itself with a KeyError
where the call is made: nest them, `extra={"user": {"name": name}}`.
"""

import logging
import os
import sys
import threading
import time
import warnings
from contextlib import nullcontext, suppress
from types import TracebackType
from typing import Literal, TextIO

from opentelemetry import trace
from pythonjsonlogger.core import BaseJsonFormatter

from chassis.console import ConsoleFormatter
from chassis.encoding import (
    MAX_NAME,
    JsonWriter,
    exception_as_json,
    quote,
    safe_text,
    stack_as_json,
    traceback_as_json,
)
from chassis.records import extras, level_name

_HANDLER = "chassis"
_MILLISECONDS = [f".{number:03d}Z" for number in range(1000)]


def configure(
    *,
    service: str,
    version: str,
    environment: str,
    level: str = "INFO",
    format: Literal["json", "console"] = "json",
    stream: TextIO | None = None,
) -> None:
    """Routes everything that is logged, warned or left uncaught to stdout, one line each.

    Called again it replaces its own handler and leaves foreign ones (a test runner's capture) alone (L9).

    Args:
        service, version, environment: written on every line (L2).
        level: the least level that is written; an unknown one is a ValueError.
        format: `json`, or `console` for people.
        stream: where to, by default whatever `sys.stdout` is at the time of writing.
    """
    handler = LineHandler(stream)
    handler.set_name(_HANDLER)
    in_json = JsonFormatter(service=service, version=version, environment=environment)
    handler.setFormatter(ConsoleFormatter() if format == "console" else in_json)
    root = logging.getLogger()
    root.setLevel(level.upper())
    for old in [old for old in root.handlers if old.get_name() == _HANDLER]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    _adopt_server_loggers()
    warnings.showwarning = _log_warning
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread
    sys.unraisablehook = _log_unraisable


class JsonFormatter(BaseJsonFormatter):
    """One record, one line of strict JSON (L2, L5 to L8).

    A python-json-logger formatter that says the same of an ordinary record as the library's own. The writing is
    ours: the library's writes NaN, which is no JSON, has no bounds, hides nothing and raises.
    """

    def __init__(self, *, service: str, version: str, environment: str) -> None:
        super().__init__()
        facts = {"service": service, "version": version, "environment": environment}
        self._facts = ",".join(f'"{key}":{quote(value)}' for key, value in facts.items())
        self._openings: dict[tuple[int, str, str], str] = {}
        self._second = (-1, "")

    def format(self, record: logging.LogRecord) -> str:
        """Never raises: a record that cannot be written as it is says why (L8)."""
        try:
            return self._line(record)
        except Exception as error:
            return self._rescue(record, error)

    def opening(self, created: float, level: int, logger: str, message: str) -> str:
        """How the line of a record of this kind begins, for who writes lines without records.

        Args:
            created: Unix time in seconds.
            level: of the standard library's numbers.
            logger, message: few and constant; what is made of them is kept.
        """
        kind = (level, logger, message)
        rest = self._openings.get(kind)
        if rest is None:
            named, said = quote(logger, MAX_NAME), JsonWriter().text(message)
            rest = (
                f'","level":"{level_name(level)}","logger":{named},"message":{said},{self._facts}'
            )
            self._openings[kind] = rest
        return f'{{"timestamp":"{self._timestamp(created)}{rest}'

    def _line(self, record: logging.LogRecord) -> str:
        fields = record.msg if isinstance(record.msg, dict) else {}
        message = "" if fields else record.getMessage()
        writer = JsonWriter()
        line = (
            f'{{"timestamp":"{self._timestamp(record.created)}","level":"{level_name(record.levelno)}",'
            f'"logger":{quote(record.name, MAX_NAME)},"message":{writer.text(message)},{self._facts}'
        )
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            trace_id, span_id = span.trace_id.to_bytes(16).hex(), span.span_id.to_bytes(8).hex()
            line += f',"trace_id":"{trace_id}","span_id":"{span_id}"'
        line += writer.members(extras(record, fields).items())
        if record.stack_info:
            line += f',"stack_info":{stack_as_json(record.stack_info)}'
        if record.exc_info and record.exc_info[1]:
            line += f',"exception":{exception_as_json(record.exc_info[1], record.exc_info[2])}'
        elif (
            record.exc_text and not record.exc_info
        ):  # a queue or another process made a text of it
            line += f',"exception":{traceback_as_json(record.exc_text)}'
        return line + "}"

    def _timestamp(self, created: float) -> str:
        second, milliseconds = divmod(int(created * 1000), 1000)
        made, text = self._second
        if second != made:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = (second, text)
        return text + _MILLISECONDS[milliseconds]

    def _rescue(self, record: logging.LogRecord, error: Exception) -> str:
        """A line for a record that broke: first without its arguments, at last without anything of it."""
        try:
            fields = record.__dict__ | {
                "msg": f"{safe_text(record.msg)} {safe_text(record.args)}",
                "args": None,
                "logging_error": f"{type(error).__name__}: {safe_text(error)}",
            }
            return self._line(logging.makeLogRecord(fields))
        except Exception:
            now = self._timestamp(time.time())
            said = f'"level":"ERROR","logger":"{__name__}","message":"log_record_unwritable"'
            return f'{{"timestamp":"{now}",{said},{self._facts}}}'


class LineHandler(logging.Handler):
    """Writes whole lines to stdout and has nowhere to complain: stderr stays empty (L1)."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self._given = stream

    @property
    def stream(self) -> TextIO:
        """Looked up for every line, so that a redirected stdout is respected."""
        return self._given or sys.stdout

    def emit(self, record: logging.LogRecord) -> None:
        """One line, one write."""
        try:
            line = self.format(record)
        except Exception:
            self.handleError(record)
        else:
            self.write(line)

    def write(self, line: str) -> None:
        """Write a line that is formatted already."""
        try:
            with self.lock or nullcontext():
                stream = self._given or sys.stdout
                try:
                    stream.write(line + "\n")
                except UnicodeEncodeError:
                    stream.write(line.encode("ascii", "backslashreplace").decode("ascii") + "\n")
                stream.flush()
        except BrokenPipeError:
            _discard_output(self.stream)
        except Exception:  # noqa: S110  # as `handleError` says
            pass

    def handleError(self, record: logging.LogRecord) -> None:
        """Silent: the standard one prints to stderr, and a service must not die of its log."""


def _discard_output(stream: TextIO) -> None:
    """Nobody reads stdout any more: without this Python says so on stderr when it exits."""
    with suppress(Exception):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _adopt_server_loggers() -> None:
    """uvicorn's records go the common way; its access log would be the second one (L4)."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.getLogger("uvicorn.access").disabled = True


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    where = {"category": category.__name__, "file": filename, "line": lineno}
    logging.getLogger("py.warnings").warning("%s", message, extra=where)


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        logging.getLogger("chassis").info("interrupted")
    else:
        logging.getLogger("chassis").critical("uncaught_exception", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        info = (args.exc_type, args.exc_value, args.exc_traceback)
        extra = {"in_thread": args.thread.name if args.thread else None}
        logging.getLogger("chassis").critical("uncaught_exception", exc_info=info, extra=extra)


def _log_unraisable(args: "sys.UnraisableHookArgs") -> None:
    info = (args.exc_type, args.exc_value, args.exc_traceback) if args.exc_value else None
    extra = {"what": args.err_msg or "Exception ignored in", "where": safe_text(args.object)}
    logging.getLogger("chassis").error("unraisable_exception", exc_info=info, extra=extra)
