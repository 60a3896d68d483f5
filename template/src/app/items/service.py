"""What can be done with items. Each method is one unit of work: its transaction is committed when it returns."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

from opentelemetry import trace
from sqlalchemy import delete, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from app.items.cache import ItemCache
from app.items.models import Item
from app.items.pagination import Cursor
from app.items.schemas import ItemChanges, ItemOut, ItemPage, NewItem
from chassis.database import Database, unique_violation
from chassis.errors import AppError

tracer = trace.get_tracer(__name__)


class ItemNotFound(AppError):
    def __init__(self) -> None:
        super().__init__(404, "item_not_found", "There is no such item")


class ItemNameTaken(AppError):
    def __init__(self) -> None:
        super().__init__(409, "item_name_taken", "Another item has this name")


class ItemService:
    """Creates, reads, lists, changes and deletes items.

    Args:
        database: where items are kept.
        cache: where single items are looked up first.
        operation: counts and times a block as a business operation, `Metrics.operation`.
    """

    def __init__(
        self,
        database: Database,
        cache: ItemCache,
        operation: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        self._database = database
        self._cache = cache
        self._operation = operation

    async def create(self, new: NewItem) -> ItemOut:
        """Add an item.

        Raises:
            ItemNameTaken: another item has the name (A2).
        """
        item = Item(id=uuid4(), created_at=datetime.now(UTC), **new.model_dump())
        with self._operation("item_create"), tracer.start_as_current_span("create item") as span:
            span.set_attribute("app.item.id", str(item.id))
            with _taken_names_refused():
                async with self._database.transaction() as session:
                    session.add(item)
        return ItemOut.model_validate(item)

    async def get(self, item_id: UUID) -> ItemOut:
        """Return one item, from the cache if it is there (A3).

        Raises:
            ItemNotFound: nothing has this id.
        """
        if cached := await self._cache.get(item_id):
            return cached
        async with self._database.transaction() as session:
            item = ItemOut.model_validate(_found(await session.get(Item, item_id)))
        await self._cache.put(item)
        return item

    async def list(self, limit: int, after: Cursor | None) -> ItemPage:
        """Return the items after the cursor, newest first: items that come later never move a page."""
        query = select(Item).order_by(Item.created_at.desc(), Item.id.desc()).limit(limit + 1)
        if after is not None:
            query = query.where(tuple_(Item.created_at, Item.id) < (after.created_at, after.id))
        async with self._database.transaction() as session:
            found = (await session.scalars(query)).all()
        page = found[:limit]
        more = len(found) > limit
        return ItemPage(
            items=[ItemOut.model_validate(item) for item in page],
            next_cursor=str(Cursor(page[-1].created_at, page[-1].id)) if more else None,
        )

    async def change(self, item_id: UUID, changes: ItemChanges) -> ItemOut:
        """Change what the client sent.

        Raises:
            ItemNotFound: nothing has this id.
            ItemNameTaken: another item has the new name.
        """
        given = changes.given()
        if not given:
            return await self.get(item_id)
        statement = update(Item).where(Item.id == item_id).values(**given).returning(Item)
        async with self._forgotten(item_id):
            with _taken_names_refused():
                async with self._database.transaction() as session:
                    item = _found(await session.scalar(statement))
        return ItemOut.model_validate(item)

    async def delete(self, item_id: UUID) -> None:
        """Remove one item.

        Raises:
            ItemNotFound: nothing has this id.
        """
        async with self._forgotten(item_id), self._database.transaction() as session:
            _found(await session.scalar(delete(Item).where(Item.id == item_id).returning(Item)))

    @asynccontextmanager
    async def _forgotten(self, item_id: UUID) -> AsyncIterator[None]:
        # Unless the block refuses: a COMMIT whose answer was lost, or that was cancelled, may have been carried out.
        refused = False
        try:
            yield
        except (ItemNotFound, ItemNameTaken):
            refused = True
            raise
        finally:
            if not refused:
                await self._cache.drop(item_id)


def _found(item: Item | None) -> Item:
    if item is None:
        raise ItemNotFound
    return item


@contextmanager
def _taken_names_refused() -> Iterator[None]:
    # Asking first would leave a gap between question and answer: the constraint decides, also between replicas.
    try:
        yield
    except IntegrityError as error:
        if unique_violation(error) == "items_name_key":
            raise ItemNameTaken from error
        raise
