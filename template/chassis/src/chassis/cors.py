"""Improvement 4: browsers may call from the listed origins and from nowhere else.

CORS does not protect the service from requests; it tells browsers which pages may read the answers.
"""

from collections.abc import Awaitable
from functools import partial

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from chassis.errors import error_response
from chassis.settings import ChassisSettings

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
REQUEST_HEADERS = ("Authorization", "Content-Type", "traceparent", "X-Trace-ID")
RESPONSE_HEADERS = ("X-Trace-ID", "Retry-After", "Location")
_VARY_ON_ORIGIN = (b"vary", b"Origin")


def install(app: FastAPI, settings: ChassisSettings) -> None:
    """Answer the allowed origins."""
    app.add_middleware(
        Cors,
        allow_origins=settings.allowed_origins,
        allow_methods=METHODS,
        allow_headers=REQUEST_HEADERS,
        expose_headers=RESPONSE_HEADERS,
        allow_credentials=True,
    )


class Cors(CORSMiddleware):
    """Starlette's CORS, with refused preflights in the standard error body.

    Starlette puts `Vary: Origin` on every response (since 1.10), also when no origin was sent: else a
    shared cache may hand the answer made for one origin, or for none, to another (Fetch, 3.2.3).
    """

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:  # type: ignore[override]
        if scope["type"] != "http":
            return self.app(scope, receive, send)
        for name, _ in scope["headers"]:
            if name == b"origin":
                break
        else:
            return self.app(scope, receive, partial(_send_with_vary, send))
        if scope["method"] == "OPTIONS":
            headers = Headers(scope=scope)
            if "access-control-request-method" in headers:
                return self._preflight(scope, headers)(scope, receive, send)
        return super().__call__(scope, receive, send)

    def _preflight(self, scope: Scope, headers: Headers) -> Response:
        response = self.preflight_response(headers)
        if response.status_code < 400:
            return response
        kept = {k: v for k, v in response.headers.items() if not k.startswith("content-")}
        return error_response(scope, 400, bytes(response.body).decode(), headers=kept)


def _send_with_vary(send: Send, message: Message) -> Awaitable[None]:
    # What Starlette does for a request without an origin.
    if message["type"] == "http.response.start":
        headers = message.get("headers", ())
        for name, _ in headers:
            if name == b"vary":
                headers = MutableHeaders(raw=list(headers))
                headers["Vary"] = ", ".join([*headers.getlist("Vary"), "Origin"])
                message["headers"] = headers.raw
                return send(message)
        message["headers"] = [*headers, _VARY_ON_ORIGIN]
    return send(message)
