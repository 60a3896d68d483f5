"""Improvement 4: browsers may call from the listed origins and from nowhere else.

CORS does not protect the service from requests; it tells browsers which pages may read the answers.
"""

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Message, Receive, Scope, Send

from chassis.errors import error_response
from chassis.settings import ChassisSettings

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
REQUEST_HEADERS = ("Authorization", "Content-Type", "traceparent", "X-Trace-ID")
RESPONSE_HEADERS = ("X-Trace-ID", "Retry-After", "Location")


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
    """Starlette's CORS, with `Vary: Origin` everywhere and refused preflights in the standard body.

    Without `Vary` a shared cache may hand the answer made for one origin, or for none, to another
    (Fetch, 3.2.3).
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_varying(message: Message) -> None:
            if message["type"] == "http.response.start":
                _vary_by_origin(message)
            await send(message)

        headers = Headers(scope=scope)
        if scope["method"] == "OPTIONS" and _is_preflight(headers):
            response = self.preflight_response(headers)
            if response.status_code >= 400:
                kept = {k: v for k, v in response.headers.items() if not k.startswith("content-")}
                response = error_response(scope, 400, bytes(response.body).decode(), headers=kept)
            await response(scope, receive, send_varying)
        else:
            await super().__call__(scope, receive, send_varying)


def _is_preflight(headers: Headers) -> bool:
    return "origin" in headers and "access-control-request-method" in headers


def _vary_by_origin(start: Message) -> None:
    start.setdefault("headers", [])
    headers = MutableHeaders(scope=start)
    varies = ",".join(headers.getlist("vary")).lower().split(",")
    if "origin" not in [name.strip() for name in varies]:
        headers.add_vary_header("Origin")
