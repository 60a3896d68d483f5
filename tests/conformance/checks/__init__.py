"""The checks, one module per area of the contract; importing the package registers them all."""

from conformance.checks import (
    breaker,
    cors,
    database,
    errors,
    health,
    items,
    leaks,
    logs,
    metrics,
    metrics_page,
    openapi,
    outgoing,
    settings,
    shutdown,
    tracing,
    tracing_setup,
)

__all__ = [
    "breaker",
    "cors",
    "database",
    "errors",
    "health",
    "items",
    "leaks",
    "logs",
    "metrics",
    "metrics_page",
    "openapi",
    "outgoing",
    "settings",
    "shutdown",
    "tracing",
    "tracing_setup",
]
