"""The standard error in the OpenAPI document: the service says what it answers."""

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

_METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
_SCHEMAS = "#/components/schemas/"
_FASTAPIS_422 = {
    "description": "Validation Error",
    "content": {"application/json": {"schema": {"$ref": f"{_SCHEMAS}HTTPValidationError"}}},
}


def document_errors(app: FastAPI, model: type[BaseModel]) -> None:
    """Give every operation the error schema for 4xx and 5xx, in place of FastAPI's own 422."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = generate()
            _add_errors(schema, model)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def _add_errors(schema: dict[str, Any], model: type[BaseModel]) -> None:
    schemas = schema.setdefault("components", {}).setdefault("schemas", {})
    name = _add_schema(schemas, model)
    content = {"application/json": {"schema": {"$ref": f"{_SCHEMAS}{name}"}}}
    invalid = {"description": "The request is not valid", "content": content}
    answered = list(_operations(schema.get("paths", {})))
    for operation in answered:
        responses = operation["responses"]
        if "422" in responses:
            responses["422"] = invalid
        for status, description in (("4XX", "Refused"), ("5XX", "Failed or not available")):
            responses.setdefault(status, {"description": description, "content": content})
    # Somebody else answers these, and FastAPI's own 422 is all that has to go.
    asked = list(_operations(schema.get("webhooks", {})))
    for operation in chain(answered, asked):
        for callback in operation.get("callbacks", {}).values():
            asked += _operations(callback)
        if operation.get("responses", {}).get("422") == _FASTAPIS_422:
            operation["responses"]["422"] = invalid
    for unused in ("HTTPValidationError", "ValidationError"):
        # The service may have a model of this name.
        if f'"{_SCHEMAS}{unused}"' not in json.dumps(schema):
            schemas.pop(unused, None)


def _add_schema(schemas: dict[str, Any], model: type[BaseModel]) -> str:
    """Add the schema of `model`, and return under which name: the service may have another of its name."""
    name, ours = model.__name__, model.model_json_schema()
    while schemas.setdefault(name, ours) != ours:
        name = f"Standard{name}"
    return name


def _operations(items: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in items.values():
        # A callback may be a reference, whose item is a text.
        if isinstance(item, dict):
            yield from (operation for method, operation in item.items() if method in _METHODS)
