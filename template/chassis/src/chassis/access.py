"""The access log (L4): one line for every request.

Where the chassis's own handler is all that would see the record, the line is written at once: a
`LogRecord`, and a formatter that expects anything in it, cost five times as much. Any other handler,
filter or record factory gets its record as ever, and so does a request with unusual texts.
"""

import logging
import time
from functools import lru_cache
from json.encoder import encode_basestring_ascii

from chassis.logging import JsonFormatter, LineHandler
from chassis.redaction import redact_text

NAME = "chassis.access"
EVENT = "request_completed"
_logger = logging.getLogger(NAME)
_parent = logging.getLogger("chassis")
_root = logging.getLogger()
_LONGEST_PLAIN = 500
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def write(
    level: int,
    trace_id: str,
    span_id: str,
    *,
    method: str,
    path: str,
    route: str,
    status: int,
    seconds: float,
    request_bytes: int,
    response_bytes: int,
    client_ip: str | None,
    user_agent: bytes | None,
) -> None:
    """Write the line of one request, unless its level is off.

    Args:
        level: of the standard library's numbers.
        trace_id, span_id: in lower-case hex.
        seconds: from arrival to the last byte.
        user_agent: as it came, in Latin-1.
    """
    if not _logger.isEnabledFor(level):
        return
    handler = _only_handler()
    is_plain = path.isascii() and len(path) <= _LONGEST_PLAIN and method in _METHODS
    caller = None
    # Nothing long is kept for the next line: who sends it may send another one of megabytes each time.
    if len(user_agent or b"") <= _LONGEST_PLAIN and len(client_ip or "") <= _LONGEST_PLAIN:
        caller = _client(client_ip, user_agent)
    if handler is None or caller is None or not is_plain:
        fields = {
            "method": method,
            "path": path,
            "route": route,
            "status": status,
            "duration_ms": round(seconds * 1000, 3),
            "request_bytes": request_bytes,
            "response_bytes": response_bytes,
            "client_ip": client_ip,
            "user_agent": user_agent.decode("latin-1") if user_agent else None,
        }
        _logger.log(level, EVENT, extra=fields)
        return
    formatter: JsonFormatter = handler.formatter  # type: ignore[assignment]  # _only_handler says so
    handler.write(
        f"{formatter.opening(time.time(), level, NAME, EVENT)}"
        f',"trace_id":"{trace_id}","span_id":"{span_id}","method":"{method}"'
        f',"path":{encode_basestring_ascii(redact_text(path))}{_target(route, status)}'
        f'{seconds * 1000:.3f},"request_bytes":{request_bytes}'
        f',"response_bytes":{response_bytes}{caller}'
    )


def _only_handler() -> LineHandler | None:
    """The chassis's handler, if nobody else could tell a record from a line."""
    if (
        len(_root.handlers) != 1
        or _logger.handlers
        or _parent.handlers
        or _logger.filters
        or not (_logger.propagate and _parent.propagate)
        or logging.getLogRecordFactory() is not logging.LogRecord
    ):
        return None
    handler = _root.handlers[0]
    if type(handler) is not LineHandler or type(handler.formatter) is not JsonFormatter:
        return None
    return None if handler.filters or handler.level else handler


# Paths differ. Methods, routes and statuses are few, and callers come back.
@lru_cache(maxsize=1024)
def _target(route: str, status: int) -> str:
    return f',"route":{_text(route)},"status":{status},"duration_ms":'


@lru_cache(maxsize=1024)
def _client(ip: str | None, user_agent: bytes | None) -> str | None:
    if user_agent and not user_agent.isascii():
        return None
    agent = user_agent.decode("ascii") if user_agent else None
    return f',"client_ip":{_text(ip)},"user_agent":{_text(agent)}}}'


@lru_cache(maxsize=1024)
def _text(text: str | None) -> str:
    return "null" if text is None else encode_basestring_ascii(redact_text(text))
