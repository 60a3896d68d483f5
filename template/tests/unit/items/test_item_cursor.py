"""A1: cursors are opaque, and no client can send one that breaks something."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.items.pagination import PATTERN, Cursor

SINCE_1970 = st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC))


@given(SINCE_1970, st.uuids())
@settings(deadline=None)
def test_a_cursor_reads_what_it_wrote(created_at: datetime, item_id: UUID) -> None:
    cursor = Cursor.parse(str(Cursor(created_at, item_id)))
    assert (cursor.created_at, cursor.id) == (created_at, item_id)


@given(st.from_regex(PATTERN, fullmatch=True))
@settings(deadline=None)
def test_whatever_has_the_shape_of_a_cursor_is_a_position(text: str) -> None:
    assert Cursor.parse(text).created_at.tzinfo is UTC


def test_the_time_zone_does_not_matter() -> None:
    moment = datetime(2026, 11, 24, 12, tzinfo=UTC)
    elsewhere = moment.astimezone(timezone(timedelta(hours=5)))
    assert str(Cursor(moment, UUID(int=0))) == str(Cursor(elsewhere, UUID(int=0)))


@pytest.mark.parametrize(
    "text", ["", "x", "A" * 31, "A" * 33, "A" * 36, "é" * 32, "+" * 32, None, 7]
)
def test_anything_else_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="next_cursor"):
        Cursor.parse(text)
