"""E6: the document says what the service answers."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel, create_model

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


class Event(BaseModel):
    number: int


def dangling(document: dict[str, Any]) -> set[str]:
    """The schemas that are referred to and not there."""
    named = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document))
    return set(named).difference(document["components"]["schemas"])


def test_what_others_answer_has_no_schema_of_fastapis(make_app: Callable[..., FastAPI]) -> None:
    app = make_app()
    callbacks, nested = APIRouter(), APIRouter()

    @app.webhooks.post("event")
    def webhook(event: Event) -> None: ...

    @nested.post("{$request.body#/deeper}")
    def called_deeper(event: Event) -> None: ...

    @callbacks.post("{$request.body#/url}", callbacks=nested.routes)
    def called(event: Event) -> None: ...

    @callbacks.put("{$request.body#/url}", responses={422: {"description": "Theirs"}})
    def called_otherwise(event: Event) -> None: ...

    @app.post("/subscriptions", callbacks=callbacks.routes)
    async def subscribe(event: Event) -> None: ...

    @app.get("/referring", openapi_extra={"callbacks": {"x": {"$ref": "#/components/callbacks/x"}}})
    async def referring() -> None: ...

    document = app.openapi()

    hook = document["webhooks"]["event"]["post"]["responses"]
    assert hook["422"]["content"]["application/json"]["schema"] == REFERENCE
    assert "5XX" not in hook
    assert "Theirs" in json.dumps(document)
    assert "HTTPValidationError" not in json.dumps(document)
    assert dangling(document) == set()


@pytest.mark.parametrize("name", ["ValidationError", "HTTPValidationError", "ErrorResponse"])
def test_a_model_of_the_services_own_keeps_its_name(
    make_app: Callable[..., FastAPI], name: str
) -> None:
    app = make_app()
    own = create_model(name, reason=(str, ...))
    app.get("/own", response_model=own)(lambda: own(reason="x"))

    document = app.openapi()

    schemas = document["components"]["schemas"]
    assert list(schemas[name]["properties"]) == ["reason"]
    assert dangling(document) == set()
    failed = document["paths"]["/own"]["get"]["responses"]["5XX"]["content"]["application/json"]
    ours = schemas[failed["schema"]["$ref"].rpartition("/")[2]]
    assert sorted(ours["required"]) == sorted(ErrorResponse.model_fields)


def test_our_own_in_an_operation_is_the_same_schema(
    make_app: Callable[..., FastAPI],
) -> None:
    app = make_app()
    app.get("/x", responses={404: {"model": ErrorResponse}})(lambda: None)

    assert list(app.openapi()["components"]["schemas"]) == ["ErrorResponse"]
