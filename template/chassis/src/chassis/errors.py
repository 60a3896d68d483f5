"""Improvement 9: every 4xx and 5xx answer has one shape, and a 5xx gives nothing away.

The body is `{"error", "message", "details", "trace_id"}`; a client that sends
`Accept: application/problem+json` gets the same facts as RFC 9457. Handlers raise `AppError`;
everything else is an accident and answered with a fixed message.
"""

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from http import HTTPStatus
from traceback import walk_tb
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from opentelemetry import trace
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis import error_body, openapi, routes, violations
from chassis.encoding import safe_text, stack_of, type_name
from chassis.redaction import redact_text

logger = logging.getLogger(__name__)

UNEXPECTED = "An unexpected error occurred"
_STANDARD = "chassis.standard_error"
_BODILESS = frozenset({204, 205, 304})
_BODY = frozenset({"http.response.body", "http.response.pathsend"})
_OF_THE_BODY = (b"content-type", b"content-length", b"content-encoding", b"transfer-encoding")
_RFC_9110 = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}


class ErrorResponse(BaseModel):
    """The body of every 4xx and 5xx answer."""

    error: str = Field(description="The HTTP reason phrase")
    message: str = Field(description="What went wrong, safe to show")
    details: dict[str, Any] | None = Field(description="Machine-readable facts, `code` among them")
    trace_id: str = Field(pattern="^[0-9a-f]{32}$", description="Name it when you ask for help")


class AppError(Exception):
    """An error that the caller may know about.

    Args:
        status: the HTTP status, 4xx or 5xx.
        code: stable and in snake_case; clients branch on it. It becomes `details.code`.
        message: prose that is safe to show.
        details: further facts for `details`.
        headers: further response headers.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = {"code": code, **(details or {})}
        self.headers = dict(headers or {})


class BodyTooLarge(HTTPException):
    """Raised where the body is read, for `chassis.limits`, which answers; FastAPI makes a 400 of other classes."""


class ServiceUnavailable(AppError):
    """503 with `Retry-After`.

    Args:
        retry_after: seconds until another try may make sense; rounded up to a whole second, at
            least one.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retry_after: float = 1.0,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        seconds = max(1, -int(-retry_after // 1))
        super().__init__(503, code, message, details=details, headers={"Retry-After": str(seconds)})


def error_response(
    scope: Scope,
    status: int,
    message: str | None = None,
    *,
    details: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Build the standard answer for `status`, in the media type that the request prefers."""
    scope[_STANDARD] = True
    error = phrase(status)
    message = message or error
    headers = dict(headers or {})
    if status == HTTPStatus.SERVICE_UNAVAILABLE and "retry-after" not in map(str.lower, headers):
        headers["Retry-After"] = "1"
    trace_id = f"{trace.get_current_span().get_span_context().trace_id:032x}"
    content, media_type = error_body.write(scope, status, error, message, details, trace_id)
    return Response(content, status, headers, media_type)


def phrase(status: int) -> str:
    """Return the HTTP reason phrase of `status` as RFC 9110 has it, on every Python alike."""
    if status in _RFC_9110:
        return _RFC_9110[status]
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Client Error" if status < 500 else "Server Error"


def record_exception(error: BaseException) -> None:
    """Put `error` on the current span, without the secrets that its text may hold."""
    span = trace.get_current_span()
    if span.is_recording():
        # Not by `Span.record_exception`, which lets an exception that cannot be printed raise another one.
        span.add_event(
            "exception",
            {
                "exception.type": type_name(error),
                "exception.message": redact_text(safe_text(error)),
                "exception.stacktrace": stack_of(error, error.__traceback__),
            },
        )


def install(app: FastAPI) -> None:
    """Register the handlers, the boundary that nothing escapes, and the schema for OpenAPI."""
    # Starlette's class: a handler on FastAPI's own subclass would miss the router's 404 and 405.
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(AppError, _on_app_error)
    app.add_middleware(ErrorBoundary)
    openapi.document_errors(app, ErrorResponse)


class ResponseAborted(Exception):
    """The response had begun when its handler failed: the connection is closed, the cause logged."""


class ErrorBoundary:
    """Innermost middleware: what nobody handled becomes the standard 500, foreign error bodies ours.

    It sits inside CORS and the observer, so that these answers carry their headers too. Mounted
    applications and hand-made responses reach it with bodies of their own; those are replaced,
    their headers kept.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http":
            return _Answer(scope, receive, send).run(self.app)
        return self.app(scope, receive, send)


class _Answer:
    __slots__ = ("last", "receive", "replacement", "scope", "send", "started")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.started = False
        self.last: Awaitable[None] | None = None
        self.replacement: Response | None = None

    async def run(self, app: ASGIApp) -> None:
        try:
            await app(self.scope, self.receive, self.forward)
        except (GeneratorExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            # Also sys.exit() and a panic of an extension: the server would answer these by itself.
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            if _is_only(error, ClientDisconnect):
                # Nobody is left to answer, and nothing here is wrong.
                return
            begun = self.last is not None or (self.started and self.replacement is None)
            # Starlette wraps what it would have answered, had it come before the answer.
            if _is_only(
                (self.started and error.__cause__) or error, BodyTooLarge, ClientDisconnect
            ):
                if not begun:
                    raise
                logger.warning("body_too_large")
            else:
                logger.exception("unhandled_exception")
                record_exception(error)
            if self.last is not None and not _came_out_of(self.last, error):
                return
            if begun:
                raise ResponseAborted from None
            response = self.replacement or error_response(self.scope, 500, UNEXPECTED)
            await response(self.scope, self.receive, self.send)

    def forward(self, message: Message) -> Awaitable[None]:
        kind = message["type"]
        if kind == "http.response.start":
            self.started = True
            if message["status"] >= 400 and _STANDARD not in self.scope:
                self.replacement = _standardised(self.scope, message)
        elif kind in _BODY and not message.get("more_body", False):
            self.last = self.send(message) if self.replacement is None else self.replace()
            return self.last
        return self.send(message) if self.replacement is None else self.replace()

    async def replace(self) -> None:
        if self.replacement is not None and self.last is not None:
            await self.replacement(self.scope, self.receive, self.send)


def _is_only(error: BaseException, *kinds: type[BaseException]) -> bool:
    """Whether `error` is one of `kinds`, or a group of nothing else, as a `TaskGroup` raises it."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(kinds)[1] is None
    return isinstance(error, kinds)


def _came_out_of(sending: Awaitable[None], error: BaseException) -> bool:
    # A coroutine that is over does not tell how it ended, and one around it would cost each request.
    code = getattr(sending, "cr_code", None)
    return any(frame.f_code is code for frame, _ in walk_tb(error.__traceback__))


def _is_cancelled() -> bool:
    """Whether somebody cancels this request, not only something that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _standardised(scope: Scope, start: Message) -> Response:
    status: int = start["status"]
    response = error_response(scope, status, UNEXPECTED if status == 500 else None)
    kept = [
        (name, value)
        for name, value in start.get("headers", ())
        if name.lower() not in _OF_THE_BODY
    ]
    named = {name.lower() for name, _ in kept}
    response.raw_headers = [h for h in response.raw_headers if h[0] not in named] + kept
    return response


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # for the type checker, as below
    status, headers, detail = error.status_code, dict(error.headers or {}), error.detail
    if status in _BODILESS:
        return Response(status_code=status, headers=headers)
    if status >= 500:
        record_exception(error)
        message = UNEXPECTED if status == 500 else None
        return error_response(request.scope, status, message, headers=headers)
    if status == 405:
        allowed = routes.allowed_methods(request.app, request.scope)
        headers["Allow"] = allowed or headers.get("Allow", "")
    if isinstance(detail, str):
        return error_response(request.scope, status, detail, headers=headers)
    details = detail if isinstance(detail, Mapping) else {"detail": detail}
    return error_response(request.scope, status, details=details, headers=headers)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    details = violations.listed(error.errors())
    return error_response(request.scope, 422, "The request is not valid", details=details)


async def _on_app_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, AppError)  # noqa: S101
    if error.status >= 500:
        record_exception(error)
    return error_response(
        request.scope, error.status, error.message, details=error.details, headers=error.headers
    )
