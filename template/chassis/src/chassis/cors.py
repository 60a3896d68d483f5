"""Improvement 4: browsers may call from the listed origins and from nowhere else.

CORS does not protect the service from requests; it tells browsers which pages may read the answers.
"""

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

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
    """Starlette's CORS, with refused preflights in the standard error body.

    Starlette puts `Vary: Origin` on every response (since 1.10), also when no origin was sent: else a
    shared cache may hand the answer made for one origin, or for none, to another (Fetch, 3.2.3).
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            headers = Headers(scope=scope)
            if "origin" in headers and "access-control-request-method" in headers:
                await self._preflight(scope, headers)(scope, receive, send)
                return
        await super().__call__(scope, receive, send)

    def _preflight(self, scope: Scope, headers: Headers) -> Response:
        response = self.preflight_response(headers)
        if response.status_code < 400:
            return response
        kept = {k: v for k, v in response.headers.items() if not k.startswith("content-")}
        return error_response(scope, 400, bytes(response.body).decode(), headers=kept)
