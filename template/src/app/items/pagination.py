"""Keyset pages: a cursor names the last item seen, so that inserts and deletes never shift a page."""

import base64
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import PlainValidator, WithJsonSchema

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
LATEST = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MICROSECOND

PATTERN = "^[A-Za-z0-9_-]{32}$"


class Cursor:
    """A position in the order of (`created_at`, `id`), opaque to clients: 8 + 16 bytes in URL-safe Base64."""

    __slots__ = ("created_at", "id")

    def __init__(self, created_at: datetime, id: UUID) -> None:
        self.created_at = created_at
        self.id = id

    def __str__(self) -> str:
        micros = (self.created_at - EPOCH) // MICROSECOND
        raw = micros.to_bytes(8, "big") + self.id.bytes
        return base64.urlsafe_b64encode(raw).decode()

    @classmethod
    def parse(cls, value: Any) -> Self:
        """Read what `str()` wrote. Whatever fits the pattern is some position: nothing else can be wrong.

        Raises:
            ValueError: this is not a cursor; FastAPI answers 422.
        """
        if not isinstance(value, str) or not re.fullmatch(PATTERN, value):
            raise ValueError("must be the next_cursor of an earlier page")
        raw = base64.urlsafe_b64decode(value)
        micros = min(int.from_bytes(raw[:8], "big"), LATEST)
        return cls(EPOCH + micros * MICROSECOND, UUID(bytes=raw[8:]))


# `None` is the default, not something that a client can send: the schema is a plain string.
CursorParameter = Annotated[
    Cursor | None,
    PlainValidator(Cursor.parse),
    WithJsonSchema({"type": "string", "pattern": PATTERN}),
]
