"""What goes over the wire. The published schema says exactly what is accepted: no rule lives anywhere else."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

# One line of printable text with at least one visible character. PostgreSQL refuses NUL in text.
NAME_PATTERN = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"

# Stripped after the check, so that the check is the one that the schema publishes.
Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=100, pattern=NAME_PATTERN),
    AfterValidator(str.strip),
]
Description = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00]*$")]


class NewItem(BaseModel):
    """The body of `POST /items`."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    description: Description | None = None


class ItemChanges(BaseModel):
    """The body of `PATCH /items/{id}`: absent fields stay as they are, `null` clears the description."""

    model_config = ConfigDict(extra="forbid")

    # The factory keeps the field optional without publishing a default; nobody reads what it makes.
    name: Name = Field(default_factory=str)
    description: Description | None = None

    def given(self) -> dict[str, str | None]:
        """Return the fields that the client sent."""
        return self.model_dump(exclude_unset=True)


class ItemOut(BaseModel):
    """An item as clients see it."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    description: str | None
    created_at: datetime


class ItemPage(BaseModel):
    """One page of items."""

    items: list[ItemOut]
    next_cursor: str | None = Field(description="Send it as `cursor` to get the next page")
