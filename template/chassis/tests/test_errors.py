"""E1-E3, E5, E7: one shape for every refusal, with what the caller may know."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal

import httpx2
import pytest
from fastapi import FastAPI, HTTPException, Request
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field, field_validator, model_validator

from chassis.errors import AppError, ErrorResponse, ServiceUnavailable, phrase

SECRET = "hunter2-of-postgresql"
Connect = Callable[[FastAPI], AbstractAsyncContextManager[httpx2.AsyncClient]]


class Login(BaseModel):
    password: str = Field(max_length=30)
    age: int = 0

    @field_validator("password")
    @classmethod
    def _strong(cls, value: str) -> str:
        if value == SECRET:
            raise ValueError(f"{value} is too weak")
        return value


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Owner(BaseModel):
    pet: Cat | Dog = Field(discriminator="kind")


async def explode() -> None:
    raise RuntimeError(f"postgresql://user:{SECRET}@db")


def raising(error: Exception) -> Callable[[], Any]:
    async def handler() -> None:
        raise error

    return handler


def add_routes(app: FastAPI) -> None:
    @app.post("/logins")
    async def log_in(login: Login) -> None: ...

    @app.post("/owners")
    async def own(owner: Owner) -> None: ...

    @app.put("/logins")
    async def replace(login: Login) -> None: ...

    app.get("/crash")(explode)
    app.get("/detail/text")(raising(HTTPException(404, "No such user")))
    app.get("/detail/object")(raising(HTTPException(409, {"code": "taken"})))
    app.get("/detail/list")(raising(HTTPException(400, ["a", "b"])))
    app.get("/status/{status}")(raise_status)
    app.get("/taken")(
        raising(AppError(409, "taken", "It is taken", details={"by": 7}, headers={"X-By": "7"}))
    )
    app.get("/busy")(raising(ServiceUnavailable("busy", "Try again", retry_after=2.1)))


async def raise_status(status: int) -> None:
    raise HTTPException(status, SECRET, headers={"X-Kept": "1"})


@pytest.fixture
def app(make_app: Callable[..., FastAPI]) -> FastAPI:
    app = make_app()
    add_routes(app)
    return app


@pytest.fixture
async def client(app: FastAPI, connect: Connect) -> AsyncIterator[httpx2.AsyncClient]:
    async with connect(app) as client:
        yield client


def standard(response: httpx2.Response, status: int) -> dict[str, Any]:
    """The body of a response that has to be the standard error."""
    body: dict[str, Any] = response.json()
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert list(body) == ["error", "message", "details", "trace_id"]
    assert body["error"] == phrase(status)
    assert body["trace_id"] == response.headers["x-trace-id"]
    ErrorResponse.model_validate(body)
    return body


@pytest.mark.criterion("E1")
class TestRefusals:
    async def test_an_unknown_path(self, client: httpx2.AsyncClient) -> None:
        body = standard(await client.get("/nowhere"), 404)

        assert (body["message"], body["details"]) == ("Not Found", None)

    async def test_a_method_that_is_not_there_keeps_the_complete_allow(
        self, client: httpx2.AsyncClient
    ) -> None:
        response = await client.delete("/logins")

        standard(response, 405)
        assert response.headers["allow"] == "POST, PUT"

    async def test_a_handlers_own_405(self, client: httpx2.AsyncClient) -> None:
        standard(await client.get("/status/405"), 405)

    async def test_missing_credentials(self, app: FastAPI, client: httpx2.AsyncClient) -> None:
        bearer = HTTPBearer()

        @app.get("/private")
        async def private(request: Request) -> None:
            await bearer(request)

        response = await client.get("/private")

        standard(response, 401)
        assert response.headers["www-authenticate"] == "Bearer"

    async def test_a_content_type_that_is_not_json(self, client: httpx2.AsyncClient) -> None:
        headers = {"Content-Type": "text/plain"}
        response = await client.post("/logins", content="password=x", headers=headers)

        standard(response, 422)

    async def test_a_415(self, client: httpx2.AsyncClient) -> None:
        standard(await client.get("/status/415"), 415)

    async def test_json_that_is_none(self, client: httpx2.AsyncClient) -> None:
        headers = {"Content-Type": "application/json"}
        response = await client.post("/logins", content='{"password": "hun', headers=headers)

        (error,) = standard(response, 422)["details"]["errors"]
        assert error["type"] == "json_invalid"
        assert "hun" not in response.text

    async def test_json_that_is_no_text(self, client: httpx2.AsyncClient) -> None:
        headers = {"Content-Type": "application/json"}

        standard(await client.post("/logins", content=b'"\xff"', headers=headers), 400)

    async def test_details_of_an_http_exception(self, client: httpx2.AsyncClient) -> None:
        text = standard(await client.get("/detail/text"), 404)
        mapping = standard(await client.get("/detail/object"), 409)
        sequence = standard(await client.get("/detail/list"), 400)

        assert (text["message"], text["details"]) == ("No such user", None)
        assert (mapping["message"], mapping["details"]) == ("Conflict", {"code": "taken"})
        assert sequence["details"] == {"detail": ["a", "b"]}

    @pytest.mark.parametrize("status", [204, 205, 304])
    async def test_some_statuses_have_no_body(
        self, client: httpx2.AsyncClient, status: int
    ) -> None:
        response = await client.get(f"/status/{status}")

        assert (response.status_code, response.content) == (status, b"")
        assert response.headers["x-kept"] == "1"
        assert "content-type" not in response.headers

    async def test_head_has_no_body(self, client: httpx2.AsyncClient) -> None:
        response = await client.head("/nowhere")

        assert (response.status_code, response.content) == (404, b"")

    @pytest.mark.criterion("E2")
    async def test_the_trace_id_is_on_good_answers_too(
        self, app: FastAPI, connect: Connect
    ) -> None:
        app.get("/good")(lambda: "good")
        async with connect(app) as client:
            response = await client.get("/good")

        assert response.status_code == 200
        assert len(response.headers["x-trace-id"]) == 32


@pytest.mark.criterion("E3")
class TestValidation:
    async def test_tells_where_and_what_and_never_the_input(
        self, client: httpx2.AsyncClient
    ) -> None:
        response = await client.post("/logins", json={"password": SECRET, "age": "old"})

        errors = standard(response, 422)["details"]["errors"]
        assert [list(error) for error in errors] == [["loc", "type", "msg"]] * 2
        assert [error["loc"] for error in errors] == [["body", "password"], ["body", "age"]]
        assert errors[0]["msg"] == "Value error, *** is too weak"
        assert SECRET not in response.text

    async def test_no_part_of_an_object_is_echoed(
        self, app: FastAPI, connect: Connect, client: httpx2.AsyncClient
    ) -> None:
        class Pair(BaseModel):
            one: str
            other: int

            @model_validator(mode="before")
            @classmethod
            def _refuse(cls, value: Any) -> Any:
                raise ValueError(f"{value['one']} and {value['other']} do not match: {value}")

        @app.post("/pairs")
        async def pair(pair: Pair) -> None: ...

        response = await client.post("/pairs", json={"one": SECRET, "other": 123456})
        assert response.status_code == 422
        assert SECRET not in response.text and "123456" not in response.text

    async def test_a_tag_is_input_too(self, client: httpx2.AsyncClient) -> None:
        response = await client.post("/owners", json={"pet": {"kind": SECRET}})

        standard(response, 422)
        assert SECRET not in response.text

    async def test_a_long_password_is_not_echoed(self, client: httpx2.AsyncClient) -> None:
        response = await client.post("/logins", json={"password": SECRET * 10})

        standard(response, 422)
        assert SECRET not in response.text

    async def test_places_are_bounded(self, app: FastAPI, connect: Connect) -> None:
        @app.post("/numbers")
        async def numbers(numbers: dict[str, int]) -> None: ...

        async with connect(app) as client:
            response = await client.post("/numbers", json={"x" * 10_000: "no number"})

        standard(response, 422)
        assert len(response.content) < 1000


@pytest.mark.criterion("E5")
class TestDomainErrors:
    async def test_carry_a_code(self, client: httpx2.AsyncClient) -> None:
        response = await client.get("/taken")

        body = standard(response, 409)
        assert body["message"] == "It is taken"
        assert body["details"] == {"code": "taken", "by": 7}
        assert response.headers["x-by"] == "7"

    @pytest.mark.criterion("E1")
    async def test_are_json_with_numbers_that_are_none(
        self, app: FastAPI, client: httpx2.AsyncClient
    ) -> None:
        details = {"nan": float("nan"), "in": [{"finite": 0.5, "not": (float("-inf"),)}]}
        app.get("/ratio")(raising(AppError(400, "bad_ratio", "x", details=details)))

        response = await client.get("/ratio")

        assert json.loads(response.content, parse_constant=pytest.fail)["details"] == {
            "code": "bad_ratio",
            "nan": None,
            "in": [{"finite": 0.5, "not": [None]}],
        }

    async def test_say_it_once(self, app: FastAPI, client: httpx2.AsyncClient) -> None:
        app.get("/later")(raising(HTTPException(503, headers={"retry-after": "7"})))
        response = await client.get("/later")
        assert response.headers.get_list("retry-after") == ["7"]

    async def test_say_when_to_try_again(self, client: httpx2.AsyncClient) -> None:
        response = await client.get("/busy")

        assert standard(response, 503)["details"] == {"code": "busy"}
        assert response.headers["retry-after"] == "3"

    @pytest.mark.parametrize(("seconds", "header"), [(0, "1"), (0.2, "1"), (1, "1"), (30.5, "31")])
    def test_wait_a_whole_second_at_least(self, seconds: float, header: str) -> None:
        error = ServiceUnavailable("busy", "Try again", retry_after=seconds)

        assert error.headers == {"Retry-After": header}


@pytest.mark.criterion("E7")
class TestProblemJson:
    @pytest.mark.parametrize(
        ("path", "status", "details"),
        [
            ("/nowhere", 404, None),
            ("/taken", 409, {"code": "taken", "by": 7}),
            ("/crash", 500, None),
        ],
    )
    async def test_has_the_same_facts(
        self, client: httpx2.AsyncClient, path: str, status: int, details: Any
    ) -> None:
        accept = {"Accept": "text/html, Application/Problem+JSON;q=0.9"}
        plain = standard(await client.get(path), status)

        response = await client.get(path, headers=accept)

        assert response.headers["content-type"] == "application/problem+json"
        assert response.json() == {
            "type": "about:blank",
            "title": plain["error"],
            "status": status,
            "detail": plain["message"],
            "details": details,
            "trace_id": response.headers["x-trace-id"],
        }


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (404, "Not Found"),
        (413, "Content Too Large"),
        (422, "Unprocessable Content"),
        (499, "Client Error"),
        (599, "Server Error"),
    ],
)
def test_phrases_are_those_of_rfc_9110(status: int, text: str) -> None:
    assert phrase(status) == text
