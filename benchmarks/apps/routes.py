"""The three routes that every measured application serves, and nothing of what is measured."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

from fastapi import APIRouter, FastAPI, HTTPException, Request, status
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from sqlalchemy import String, event
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

DATABASE = "sqlite+aiosqlite:///items.db"


class Note(BaseModel):
    """What the in-memory read answers with."""

    id: int
    text: str


NOTES = {number: Note(id=number, text=f"note {number}") for number in range(10)}

memory = APIRouter(prefix="/notes")


@memory.get("/{id}")
async def read_note(id: int) -> Note:
    return NOTES[id]


class Base(DeclarativeBase):
    """Of the table below."""


class Item(Base):
    """The same table as the sample's."""

    __tablename__ = "items"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    description: Mapped[str | None] = mapped_column(String(1000))
    created_at: Mapped[datetime]


class NewItem(BaseModel):
    """The body of `POST /items`."""

    name: str
    description: str | None = None


class ItemOut(BaseModel):
    """An item as clients see it."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    description: str | None
    created_at: datetime


engine = create_async_engine(DATABASE)
transaction = async_sessionmaker(engine, expire_on_commit=False)
cache: dict[UUID, bytes] = {}
items = APIRouter(prefix="/items")


@event.listens_for(engine.sync_engine, "connect")
def _like_the_sample(connection: object, record: object) -> None:
    connection.execute("PRAGMA journal_mode = WAL")  # type: ignore[attr-defined]  # a driver's connection


@items.post("", status_code=status.HTTP_201_CREATED)
async def create_item(new: NewItem) -> ItemOut:
    item = Item(id=uuid4(), created_at=datetime.now(UTC), **new.model_dump())
    async with transaction.begin() as session:
        session.add(item)
    return ItemOut.model_validate(item)


@items.get("/{id}")
async def get_item(id: UUID) -> ItemOut:
    if cached := cache.get(id):
        return ItemOut.model_validate_json(cached)
    async with transaction.begin() as session:
        item = await session.get(Item, id)
    if item is None:
        raise HTTPException(404)
    found = ItemOut.model_validate(item)
    cache[id] = found.model_dump_json().encode()
    return found


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Make the table, and close the connections at the end."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


async def live(request: Request) -> JSONResponse:
    return JSONResponse({"status": "alive"})


def add(app: FastAPI) -> None:
    """Add all routes, as many in front of the measured ones as a render has: FastAPI asks them in turn."""
    app.add_route("/health/live", live, include_in_schema=False)
    app.add_route("/health/ready", live, include_in_schema=False)
    app.include_router(memory)
    app.include_router(items)
