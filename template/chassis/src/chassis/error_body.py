"""The body of every error as JSON, in the media type that the request prefers (E1, E7)."""

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any

from starlette.types import Scope

_JSON = "application/json"
_PROBLEM_JSON = "application/problem+json"


def write(
    scope: Scope,
    status: int,
    error: str,
    message: str,
    details: Mapping[str, Any] | None,
    trace_id: str,
) -> tuple[str, str]:
    """Return the body and its media type."""
    if not _wants_problem_json(scope):
        facts = {"error": error, "message": message, "details": details, "trace_id": trace_id}
        return _as_json(facts), _JSON
    problem = {
        "type": "about:blank",
        "title": error,
        "status": status,
        "detail": message,
        "details": details,
        "trace_id": trace_id,
    }
    return _as_json(problem), _PROBLEM_JSON


def _wants_problem_json(scope: Scope) -> bool:
    wanted = _PROBLEM_JSON.encode()
    return any(name == b"accept" and wanted in value.lower() for name, value in scope["headers"])


def _as_json(body: dict[str, Any]) -> str:
    try:
        return json.dumps(body, allow_nan=False, default=str, separators=(",", ":"))
    except ValueError:
        return json.dumps(_finite(body), default=str, separators=(",", ":"))


def _finite(value: object) -> object:
    """`value` with null for each NaN and infinity, which are no JSON, as in log lines."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(member) for key, member in value.items()}
    return [_finite(member) for member in value] if isinstance(value, list | tuple) else value
