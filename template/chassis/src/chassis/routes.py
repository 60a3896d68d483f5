"""The route template that a request was matched to.

Since FastAPI 0.137 `scope["route"].path` lacks the prefixes of included routers; the full path is
in a private place of the scope. Everything that knows this place is in this module, and its tests
pin the behaviour.
"""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import Scope

UNMATCHED = "__unmatched__"
_NOTHING: dict[str, Any] = {}


def template(scope: Scope, app: Starlette, root_path: str) -> str:
    """Return the full route template, router and mount prefixes included, or `UNMATCHED`.

    Args:
        scope: the scope after routing.
        app: the application that got the request; the scope names the innermost mounted one.
        root_path: the scope's `root_path` before routing; what it has more now are mounts.
    """
    route = scope.get("route")
    context = scope.get("fastapi", _NOTHING).get("effective_route_context")
    path: str | None
    if context is not None and context.original_route is route:
        path = context.path
    elif isinstance(route, Route):
        path = route.path
    else:
        path = _path_by_endpoint(scope) if route is None else _path_of(route)
    if path is None:
        return UNMATCHED
    mounted: str = scope.get("root_path", "")
    if mounted == root_path:
        return path
    prefix = _mount_template(app.routes, mounted[len(root_path) :])
    return UNMATCHED if prefix is None else prefix + path


def allowed_methods(app: FastAPI, scope: Scope) -> str:
    """Return the `Allow` header for a 405: the methods of *all* routes of the path.

    RFC 9110, 15.5.6.
    """
    methods: set[str] = set()
    for context in iter_route_contexts(app.routes):
        match, _ = context.matches(scope)
        if match is not Match.NONE and context.methods:
            methods |= context.methods
    return ", ".join(sorted(methods))


def _mount_template(routes: Sequence[BaseRoute], mounted: str) -> str | None:
    # Not the path as it came: a mount may have parameters, and each value would be a series.
    for context in iter_route_contexts(routes):
        mount = context.original_route
        if not isinstance(mount, Mount):
            continue
        match = context.path_regex.match(f"{mounted}/")
        if match is None:
            continue
        inner = match["path"].rstrip("/")
        rest = _mount_template(mount.routes, f"/{inner}") if inner else ""
        if rest is not None:
            return f"{context.path}{rest}"
    return None


def _path_of(route: object) -> str | None:
    # A mount has the path of what it holds, a host none, and somebody else's class what it likes.
    path = None if isinstance(route, Mount) else getattr(route, "path", None)
    return path if isinstance(path, str) else None


def _path_by_endpoint(scope: Scope) -> str | None:
    # Plain Starlette routes, such as those of the API documentation, leave only their endpoint.
    endpoint = scope.get("endpoint")
    if endpoint is None:
        return None
    routes = iter_route_contexts(getattr(scope.get("app"), "routes", ()))
    # One endpoint may stand on several paths.
    found = ((r.matches(scope)[0].value, r.path) for r in routes if r.endpoint is endpoint)
    match, path = max(found, key=itemgetter(0), default=(0, None))
    return path if match else None
