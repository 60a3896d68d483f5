"""Where Alembic starts, from `python -m app migrate` as well as from the `alembic` command."""

import asyncio
import importlib
import importlib.util
import pkgutil
from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Connection

import app
from app.models import Base, UtcDateTime
from app.settings import Settings
from chassis.configuration import load
from chassis.database import migration_connection


def import_models() -> None:
    """Import every `app.*.models`, so that `Base.metadata` knows all tables."""
    for package in pkgutil.iter_modules(app.__path__, "app."):
        models = f"{package.name}.models"
        if package.ispkg and importlib.util.find_spec(models):
            importlib.import_module(models)


def render_item(kind: str, item: object, _: AutogenContext) -> str | Literal[False]:
    """Write a moment in time as what it is in the database: old migrations must not depend on the code of today."""
    return "sa.DateTime(timezone=True)" if isinstance(item, UtcDateTime) else False


def upgrade(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_item=render_item,
        # SQLite cannot alter most things: there Alembic copies the table instead.
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


async def run() -> None:
    settings = context.config.attributes.get("settings") or load(Settings)
    async with migration_connection(settings) as connection:
        await connection.run_sync(upgrade)


import_models()
if context.is_offline_mode():
    # `alembic upgrade head --sql` prints what it would do.
    context.configure(dialect_name="postgresql", target_metadata=Base.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    asyncio.run(run())
