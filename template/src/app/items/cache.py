"""Items in the cache (cache-aside): readers fill it, writers drop what they changed, after their commit.

A reader that started before a write may put the old item back after it; it is gone after `CACHE_TTL` at the latest.
"""

from typing import Protocol
from uuid import UUID

from pydantic import ValidationError

from app.items.schemas import ItemOut


class Cache(Protocol):
    """What is needed of a cache; `chassis.cache.Cache` has it."""

    async def get(self, key: str) -> bytes | None: ...
    async def set(self, key: str, value: bytes) -> None: ...
    async def delete(self, *keys: str) -> None: ...


class ItemCache:
    """Serialised items by id.

    Args:
        cache: where they are kept; `None` when the service has no cache, then nothing is ever found.
    """

    def __init__(self, cache: Cache | None) -> None:
        self._cache = cache

    async def get(self, item_id: UUID) -> ItemOut | None:
        """Return the cached item, if there is one that this version of the service can read."""
        cached = await self._cache.get(_key(item_id)) if self._cache else None
        if cached is None:
            return None
        try:
            return ItemOut.model_validate_json(cached)
        except ValidationError:
            return None

    async def put(self, item: ItemOut) -> None:
        if self._cache:
            await self._cache.set(_key(item.id), item.model_dump_json().encode())

    async def drop(self, item_id: UUID) -> None:
        if self._cache:
            await self._cache.delete(_key(item_id))


def _key(item_id: UUID) -> str:
    return f"items:{item_id}"
