"""A3: what is in the cache is only ever a copy."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from app.items.cache import ItemCache
from app.items.schemas import ItemOut

ITEM = ItemOut(id=uuid4(), name="a", description=None, created_at=datetime.now(UTC))


class Values:
    """A cache without an end."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    async def get(self, key: str) -> bytes | None:
        return self.values.get(key)

    async def set(self, key: str, value: bytes) -> None:
        self.values[key] = value

    async def delete(self, *keys: str) -> None:
        for key in keys:
            self.values.pop(key, None)


@pytest.mark.criterion("A3")
async def test_an_item_comes_back_until_it_is_dropped() -> None:
    cache = ItemCache(Values())
    await cache.put(ITEM)
    assert await cache.get(ITEM.id) == ITEM
    await cache.drop(ITEM.id)
    assert await cache.get(ITEM.id) is None


@pytest.mark.parametrize("cached", [b"", b"{}", b'{"id": 1, "name": "from another version"}'])
async def test_what_another_version_left_behind_is_a_miss(cached: bytes) -> None:
    values = Values()
    cache = ItemCache(values)
    await cache.put(ITEM)
    values.values = dict.fromkeys(values.values, cached)
    assert await cache.get(ITEM.id) is None


async def test_a_service_may_have_no_cache() -> None:
    cache = ItemCache(None)
    await cache.put(ITEM)
    await cache.drop(ITEM.id)
    assert await cache.get(ITEM.id) is None
