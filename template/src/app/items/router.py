"""The HTTP side of items (A1): translates, and leaves the work to `ItemService`."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response, status
from pydantic import BeforeValidator

from app.container import ContainerDep
from app.items.cache import ItemCache
from app.items.pagination import CursorParameter
from app.items.schemas import ItemChanges, ItemOut, ItemPage, NewItem
from app.items.service import ItemNotFound, ItemService
from chassis.errors import ErrorResponse

NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorResponse, "description": "`item_not_found`"}
}
CONFLICT: dict[int | str, dict[str, Any]] = {
    409: {"model": ErrorResponse, "description": "`item_name_taken`"}
}

router = APIRouter(prefix="/items", tags=["items"])


async def item_service(container: ContainerDep) -> ItemService:
    """Provide the service; a test replaces it with `app.dependency_overrides[item_service]`."""
    return ItemService(
        container.database, ItemCache(container.cache), container.chassis.metrics.operation
    )


Items = Annotated[ItemService, Depends(item_service)]


def parse_id(value: str) -> UUID:
    """Read an id; what is none does not name an item either (A2)."""
    try:
        return UUID(value)
    except ValueError:
        raise ItemNotFound from None


ItemId = Annotated[UUID, Path(alias="id"), BeforeValidator(parse_id)]


@router.post("", status_code=status.HTTP_201_CREATED, responses=CONFLICT)
async def create_item(new: NewItem, items: Items, request: Request, response: Response) -> ItemOut:
    """Create an item; its name must be unique."""
    item = await items.create(new)
    response.headers["Location"] = str(request.app.url_path_for("get_item", id=str(item.id)))
    return item


@router.get("/{id}", responses=NOT_FOUND)
async def get_item(item_id: ItemId, items: Items) -> ItemOut:
    """Read one item."""
    return await items.get(item_id)


@router.get("")
async def list_items(
    items: Items,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[CursorParameter, Query()] = None,
) -> ItemPage:
    """Read items, newest first, page by page."""
    return await items.list(limit, cursor)


@router.patch("/{id}", responses={**NOT_FOUND, **CONFLICT})
async def change_item(item_id: ItemId, changes: ItemChanges, items: Items) -> ItemOut:
    """Change an item: fields that are absent stay as they are."""
    return await items.change(item_id, changes)


@router.delete("/{id}", status_code=status.HTTP_204_NO_CONTENT, responses=NOT_FOUND)
async def delete_item(item_id: ItemId, items: Items) -> None:
    """Delete an item."""
    await items.delete(item_id)
