"""Shared fixtures: the template's snapshot, renders of it, and services installed from them."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conformance.counterparts.postgres import find_binaries

from tests.deploy.tools import tool, unavailable
from tests.harness import Answers, Renderer, Service, commit, snapshot

# A service's tests remove all keys of the service from the Redis that they are given, and two may be at it.
if url := os.environ.get("TEST_REDIS_URL"):
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    os.environ["TEST_REDIS_URL"] = urlsplit(url)._replace(path=f"/{worker}").geturl()


@pytest.fixture(scope="session")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    """Copier on one snapshot of the work tree, the same for the whole session."""
    return Renderer(snapshot(tmp_path_factory.mktemp("template")))


@pytest.fixture(scope="session")
def counterparts() -> None:
    """The servers that a service is judged beside."""
    for program in ("redis-server", "prometheus", "promtool"):
        tool(program)
    if find_binaries() is None:
        unavailable("PostgreSQL is not installed")


@pytest.fixture(scope="session")
def rendered(
    renderer: Renderer, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Answers], Path]:
    """Render once per set of answers; the result is shared, so tests only read it."""
    done: dict[str, Path] = {}

    def render(answers: Answers) -> Path:
        key = json.dumps(answers, sort_keys=True)
        if key not in done:
            done[key] = renderer(tmp_path_factory.mktemp("service") / "service", answers)
        return done[key]

    return render


@pytest.fixture(scope="session")
def installed(
    renderer: Renderer, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Answers], Service]:
    """Render, commit and install once per set of answers. Tests leave the files as they were."""
    done: dict[str, Service] = {}

    def install(answers: Answers) -> Service:
        key = json.dumps(answers, sort_keys=True)
        if key not in done:
            path = renderer(tmp_path_factory.mktemp("installed") / "service", answers)
            commit(path)
            done[key] = Service(path)
            done[key].make("install")
        return done[key]

    return install
