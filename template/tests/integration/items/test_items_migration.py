"""S5: the migrations and the models say the same."""

import asyncio
from collections.abc import Callable
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from app.models import Base
from chassis.database import migrate, migration_connection


def differences(connection: Connection) -> list[Any]:
    return list(compare_metadata(MigrationContext.configure(connection), Base.metadata))


async def test_a_migrated_database_is_what_the_models_describe(
    make_settings: Callable[..., Any],
) -> None:
    settings = make_settings()
    await asyncio.to_thread(migrate, settings)
    async with migration_connection(settings) as connection:
        assert await connection.run_sync(differences) == []
