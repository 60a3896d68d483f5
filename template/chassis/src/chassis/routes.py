"""The route template that a request was matched to.

Since FastAPI 0.137 `scope["route"].path` lacks the prefixes of included routers; the full path is in a private place of the
scope. Everything that knows this place is in this module, and its tests pin the behaviour.
"""

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import Match, Mount
from starlette.types import Scope

UNMATCHED = "__unmatched__"


def template(scope: Scope, root_path: str) -> str:
    """Return the full route template, router and mount prefixes included, or `UNMATCHED`.

    Args:
        scope: the scope after routing.
        root_path: the scope's `root_path` before routing; what a mount added to it is part of the template.
    """
    path = _matched_path(scope)
    if path is None:
        return UNMATCHED
    mounted: str = scope.get("root_path", "")
    return path if mounted == root_path else mounted[len(root_path) :] + path


def allowed_methods(app: FastAPI, scope: Scope) -> str:
    """Return the `Allow` header for a 405: the methods of *all* routes that match the path (RFC 9110, 15.5.6)."""
    methods: set[str] = set()
    for context in iter_route_contexts(app.routes):
        match, _ = context.matches(scope)
        if match is not Match.NONE and context.methods:
            methods |= context.methods
    return ", ".join(sorted(methods))


def _matched_path(scope: Scope) -> str | None:
    route = scope.get("route")
    if isinstance(route, Mount):
        return None
    if route is None:
        return _path_by_endpoint(scope)
    context = scope.get("fastapi", {}).get("effective_route_context")
    in_router = context is not None and context.original_route is route
    path: str = context.path if in_router else route.path
    return path


def _path_by_endpoint(scope: Scope) -> str | None:
    # Plain Starlette routes, such as those of the API documentation, leave only their endpoint.
    endpoint = scope.get("endpoint")
    if endpoint is None:
        return None
    routes = iter_route_contexts(scope["app"].routes)
    return next((r.path for r in routes if r.endpoint is endpoint), None)
