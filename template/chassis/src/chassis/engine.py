"""How `chassis.database` connects: what asyncpg and SQLite need so that nothing hangs, and spans without data."""

import contextlib
import functools
from collections.abc import Mapping
from typing import Any

import asyncpg
from opentelemetry import trace
from opentelemetry.instrumentation.sqlalchemy.engine import EngineTracer
from opentelemetry.metrics import NoOpMeterProvider
from sqlalchemy import URL, event, exc
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

ASYNCPG = "postgresql+asyncpg"
SCHEMES = (ASYNCPG, "postgresql", "postgres")
"""The ways to write a PostgreSQL URL."""

CHOICES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "target_session_attrs": (
        "any",
        "primary",
        "standby",
        "prefer-standby",
        "read-write",
        "read-only",
    ),
}
"""What asyncpg takes for those of libpq's parameters that have a choice."""

TLS_FOR_SURE = CHOICES["sslmode"][3:]

UNKNOWN = {
    "channel_binding",
    "connect_timeout",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "replication",
    "require_auth",
    "requirepeer",
    "requiressl",
    "scram_client_key",
    "scram_server_key",
    "servicefile",
    "sslcertmode",
    "sslcompression",
    "sslcrldir",
    "sslkeylogfile",
    "sslsni",
}
"""libpq's parameters that asyncpg hands to the server, which refuses every connection for them."""

CONNECT_TIMEOUT = 2.0
CLOSE_TIMEOUT = 0.5


def problem_with(query: Mapping[str, str | tuple[str, ...]]) -> str | None:
    """Tell what to change in the parameters of a PostgreSQL URL with which nobody could connect."""
    if "ssl" in query:
        # SQLAlchemy's spelling, which asyncpg would hand to the server, too.
        return "TLS is asked for by sslmode, not by ssl"
    if unknown := UNKNOWN & query.keys():
        return f"drop {', '.join(sorted(unknown))}, which this driver does not have"
    for name, values in CHOICES.items():
        if query.get(name, values[0]) not in values:
            return f"{name} must be one of {', '.join(values)}"
    if query.get("sslnegotiation") == "direct" and query.get("sslmode") not in TLS_FOR_SURE:
        return f"sslnegotiation=direct needs an sslmode of {', '.join(TLS_FOR_SURE)}"
    return None


def create_engine(url: URL, **pool: Any) -> AsyncEngine:
    """Make an engine that connects when it is first used.

    Args:
        url: of PostgreSQL or SQLite, with the driver that `DATABASE_URL` was given.
        pool: what SQLAlchemy's engine takes to describe its pool.
    """
    # hide_parameters: exception texts end in the log, and parameters are the callers' data.
    if url.drivername != ASYNCPG:
        engine = create_async_engine(url, hide_parameters=True, **pool)
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        return engine
    # asyncpg reads the URL itself, so that what it has of libpq's works: sslmode, sslrootcert, several hosts (one that
    # refuses is passed over; one that hangs is not, since the timeout is for all). What it does not know becomes a
    # setting of the session, such as statement_timeout. Prepared statements stay cached: PgBouncer tracks them since
    # 1.21 (max_prepared_statements); an older one needs pool_mode=session.
    connect = functools.partial(
        asyncpg.connect,
        url.set(drivername="postgresql").render_as_string(hide_password=False),
        timeout=CONNECT_TIMEOUT,
        connection_class=_Connection,
    )
    engine = create_async_engine(
        url.set(query={}),
        async_creator=connect,
        hide_parameters=True,
        **pool,
    )
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    event.listen(engine.sync_engine, "handle_error", _forget_detail)
    return engine


def _forget_detail(context: ExceptionContext) -> None:
    # "Key (email)=(…) already exists": the callers' data again, on its way into logs and spans (T4).
    driver_exception: Any = getattr(context.original_exception, "driver_exception", None)
    if getattr(driver_exception, "detail", None):
        driver_exception.detail = None


def _refuse_closed(connection: Any, record: object, proxy: object) -> None:
    # Cheaper than pool_pre_ping, which costs three round trips per transaction: after a restart or failover asyncpg
    # knows that the server hung up, and the pool answers this by connecting anew.
    if connection.driver_connection.is_closed():
        raise exc.DisconnectionError


def _prepare_sqlite(connection: Any, record: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "foreign_keys = ON", "busy_timeout = 5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def trace_engine(engine: AsyncEngine, provider: trace.TracerProvider) -> None:
    """Make a span for every statement on this engine, without its parameters (T1, T4)."""
    # On this engine only: the instrumentor's own instrument() would patch SQLAlchemy for the whole process.
    event.listen(engine.sync_engine, "handle_error", _end_failed_span)
    tracer = provider.get_tracer("opentelemetry.instrumentation.sqlalchemy")
    usage = NoOpMeterProvider().get_meter("unused").create_up_down_counter("unused")
    EngineTracer(tracer, engine.sync_engine, usage)  # type: ignore[no-untyped-call]


def _end_failed_span(context: ExceptionContext) -> None:
    # Before the instrumentation does it with the driver's text, which may quote a bound parameter (T4).
    execution: Any = context.execution_context
    span: trace.Span | None = getattr(execution, "_otel_span", None)
    if span is not None:
        span.set_status(trace.StatusCode.ERROR)
        span.set_attribute("error.type", type(context.original_exception).__name__)
        span.end()
        execution._otel_span = None


class _Connection(asyncpg.Connection):
    """A connection whose closing never waits long: a server that hangs would not answer that either."""

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109  # asyncpg's signature
        """Close at once, or after a moment when SQLAlchemy passes a timeout.

        It does so for a connection that is given up while in use: then asyncpg asks the server to stop the statement.
        """
        if timeout is None:
            self.terminate()
            return
        with contextlib.suppress(TimeoutError):
            await super().close(timeout=CLOSE_TIMEOUT)
