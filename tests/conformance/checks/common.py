"""What checks of several areas share: the standard error body, and ways to make the database fail."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from conformance.registry import FailedError, expect
from conformance.rig import Rig
from conformance.wire import Response

TRACE_ID = re.compile(r"^(?!0{32})[0-9a-f]{32}$")
SPAN_ID = re.compile(r"^(?!0{16})[0-9a-f]{16}$")

_RENAMED = {
    413: {"Content Too Large", "Request Entity Too Large"},
    422: {"Unprocessable Content", "Unprocessable Entity"},
}
_FIELDS = {"error", "message", "details", "trace_id"}


def body_problems(response: Response, *statuses: int) -> Iterator[str]:
    """Yield what is wrong with an error answer: its status, its body, its trace id."""
    if statuses and response.status not in statuses:
        yield f"status {response.status} instead of {' or '.join(map(str, statuses))}"
    body = response.object()
    if set(body) != _FIELDS:
        yield f"not the standard body: {response.brief()}"
        return
    phrases = _RENAMED.get(response.status) or {HTTPStatus(response.status).phrase}
    if body["error"] not in phrases:
        yield f"error is {body['error']!r}, not the reason phrase of {response.status}"
    if not isinstance(body["message"], str) or not body["message"]:
        yield f"message is {body['message']!r}"
    if not isinstance(body["details"], dict | None):
        yield f"details is a {type(body['details']).__name__}"
    if not TRACE_ID.match(str(body["trace_id"])):
        yield f"trace_id is {body['trace_id']!r}"
    if body["trace_id"] != response.header("x-trace-id"):
        yield f"trace_id {body['trace_id']} is not X-Trace-ID {response.header('x-trace-id')}"
    if not (response.header("content-type") or "").startswith("application/json"):
        yield f"content type is {response.header('content-type')}"


def code_of(response: Response) -> object:
    """Return `details.code` of an error body, or None."""
    details = response.object().get("details")
    return details.get("code") if isinstance(details, dict) else None


def completed(entry: dict[str, Any]) -> bool:
    """Return whether a log entry is the one event of a finished request."""
    return entry.get("message") == "request_completed"


async def item_table(rig: Rig) -> str:
    """Return the name of the table behind the sample resource."""
    columns = "SELECT table_name FROM information_schema.columns WHERE table_schema = 'public' AND column_name = '{}'"
    found = await rig.sql(f"{columns.format('name')} INTERSECT {columns.format('description')}")
    if len(found) != 1:
        raise FailedError(
            f"the sample resource should have one table with name and description, found {found}"
        )
    return found[0]


@asynccontextmanager
async def refused_statements(
    rig: Rig, text: str, *, at_commit: bool = False
) -> AsyncIterator[None]:
    """Let the database refuse every insert into the sample's table with an error of that text, at once or at COMMIT."""
    table = await item_table(rig)
    kind = "CONSTRAINT TRIGGER" if at_commit else "TRIGGER"
    when = "AFTER INSERT" if at_commit else "BEFORE INSERT"
    deferred = "DEFERRABLE INITIALLY DEFERRED" if at_commit else ""
    quoted = text.replace("'", "''").replace("%", "%%")
    await rig.sql(
        f"CREATE FUNCTION conformance_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$BEGIN RAISE EXCEPTION '{quoted}'; END$$; "
        f'CREATE {kind} conformance_refuse {when} ON "{table}" {deferred} '
        f"FOR EACH ROW EXECUTE FUNCTION conformance_refuse()"
    )
    try:
        yield
    finally:
        await rig.sql("DROP FUNCTION conformance_refuse() CASCADE")


async def unhandled(
    rig: Rig, text: str = "refused by the conformance suite", **options: object
) -> Response:
    """Provoke an error that the service cannot foresee, and return its answer."""
    async with refused_statements(rig, text):
        response = await rig.create_item(**options)  # type: ignore[arg-type]
    expect(
        response.status == 500,
        f"a statement that the database refuses is {response.brief()}, not a 500",
    )
    return response
