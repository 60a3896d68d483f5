"""A1: what clients may send."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.items.schemas import ItemChanges, NewItem


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("a", "a"),
        ("  two words ", "two words"),
        ("ünï ☃ 日本", "ünï ☃ 日本"),
        ("x" * 100, "x" * 100),
        ("'; DROP TABLE items; --", "'; DROP TABLE items; --"),
    ],
)
def test_names_are_kept_without_surrounding_space(sent: str, kept: str) -> None:
    assert NewItem(name=sent).name == kept


@pytest.mark.parametrize(
    "name",
    ["", " ", "\u2003", "x" * 101, "a\x00b", "a\nb", "a\x1b[31mb", "a\x85", "\ud800", None, 1],
)
def test_other_names_are_refused(name: Any) -> None:
    for body in (NewItem, ItemChanges):
        with pytest.raises(ValidationError):
            body.model_validate({"name": name})


@pytest.mark.parametrize("description", [None, "", "two\nlines", "x" * 1000])
def test_a_description_may_have_lines(description: str | None) -> None:
    assert NewItem(name="a", description=description).description == description


@pytest.mark.parametrize("description", ["x" * 1001, "a\x00b", "\ud800", 1])
def test_other_descriptions_are_refused(description: Any) -> None:
    with pytest.raises(ValidationError):
        NewItem(name="a", description=description)


def test_what_is_absent_is_not_what_is_null() -> None:
    assert ItemChanges().given() == {}
    assert ItemChanges(description=None).given() == {"description": None}
    assert ItemChanges(name=" b ").given() == {"name": "b"}


@pytest.mark.parametrize("body", [NewItem, ItemChanges])
def test_unknown_fields_are_refused(body: type[NewItem] | type[ItemChanges]) -> None:
    with pytest.raises(ValidationError):
        body.model_validate({"name": "a", "id": "chosen by the client"})
