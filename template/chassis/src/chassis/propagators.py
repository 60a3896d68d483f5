"""OpenTelemetry's propagators, which are chosen while they are imported, when nobody can be told of a wrong name (S3).

Imported before anything else that imports them, as FastAPI does.
"""

import importlib
import os

VARIABLE = "OTEL_PROPAGATORS"

_given = os.environ.pop(VARIABLE, None)
from opentelemetry import propagate  # noqa: E402  # after that line

if _given is not None:
    os.environ[VARIABLE] = _given


def choose() -> bool:
    """Take those that the variable names, and return whether they are installed."""
    if os.environ.get(VARIABLE):
        try:
            importlib.reload(propagate)
        except ValueError:
            return False
    return True
