"""The standard error in the OpenAPI document: the service says what it answers."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

_METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})


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
    schemas[model.__name__] = model.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    reference = {"$ref": f"#/components/schemas/{model.__name__}"}
    content = {"application/json": {"schema": reference}}
    for item in schema.get("paths", {}).values():
        for method, operation in item.items():
            if method in _METHODS:
                _add_to_operation(operation["responses"], content)


def _add_to_operation(responses: dict[str, Any], content: dict[str, Any]) -> None:
    if "422" in responses:
        responses["422"] = {"description": "The request is not valid", "content": content}
    for status, description in (("4XX", "Refused"), ("5XX", "Failed or not available")):
        responses.setdefault(status, {"description": description, "content": content})
