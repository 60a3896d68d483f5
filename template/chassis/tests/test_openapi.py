"""E6: the document says what the service answers."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI

from chassis.errors import ErrorResponse

pytestmark = pytest.mark.criterion("E6")

REFERENCE = {"$ref": "#/components/schemas/ErrorResponse"}


@pytest.fixture
def document(make_app: Callable[..., FastAPI]) -> dict[str, Any]:
    app = make_app()

    @app.get("/things/{number}", responses={404: {"description": "No such thing"}})
    async def thing(number: int) -> int:
        return number

    @app.get("/plain", status_code=204)
    async def plain() -> None: ...

    return app.openapi()


@pytest.mark.parametrize("path", ["/things/{number}", "/plain"])
def test_every_operation_may_fail_in_the_standard_shape(
    document: dict[str, Any], path: str
) -> None:
    responses = document["paths"][path]["get"]["responses"]

    for status in ("4XX", "5XX"):
        assert responses[status]["content"]["application/json"]["schema"] == REFERENCE


def test_a_422_is_ours(document: dict[str, Any]) -> None:
    responses = document["paths"]["/things/{number}"]["get"]["responses"]

    assert responses["422"]["content"]["application/json"]["schema"] == REFERENCE
    assert "422" not in document["paths"]["/plain"]["get"]["responses"]


def test_what_an_operation_says_itself_stays(document: dict[str, Any]) -> None:
    responses = document["paths"]["/things/{number}"]["get"]["responses"]

    assert responses["404"]["description"] == "No such thing"
    assert responses["200"]["content"]["application/json"]["schema"]["type"] == "integer"


def test_the_schema_demands_all_four(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    assert sorted(schemas["ErrorResponse"]["required"]) == sorted(ErrorResponse.model_fields)
    assert "HTTPValidationError" not in json.dumps(document)


def test_an_application_without_operations_has_the_schema_too(
    make_app: Callable[..., FastAPI],
) -> None:
    assert "ErrorResponse" in make_app().openapi()["components"]["schemas"]


@pytest.mark.criterion("H5")
def test_probes_are_not_in_it(document: dict[str, Any]) -> None:
    assert list(document["paths"]) == ["/things/{number}", "/plain"]


def test_it_is_made_once(make_app: Callable[..., FastAPI]) -> None:
    app = make_app()

    assert app.openapi() is app.openapi()
