"""The template with its history, and an installed service with a template of its own to be updated from."""

from collections.abc import Iterator

import pytest

from tests.harness import BARE, ROOT, Renderer, Service, commit, copy_work_tree, git, snapshot
from tests.updates.pair import Pair


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    """A clone of this repository whose last commit is the present work tree, uncommitted work included."""
    template = tmp_path_factory.mktemp("history") / "template"
    # Tags would be newer than the last commit; releases.toml has their commits.
    git(ROOT, "clone", "--quiet", "--no-tags", "--no-checkout", str(ROOT), str(template))
    copy_work_tree(template)
    git(template, "add", "--all")
    git(template, "commit", "--quiet", "--allow-empty", "--message=The present work tree")
    return Renderer(template)


@pytest.fixture(scope="session")
def born(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Make and install the service, once."""
    base = tmp_path_factory.mktemp("pair")
    template = snapshot(base / "template")
    service = Service(Renderer(template)(base / "service", BARE))
    commit(service.path)
    service.make("install")
    return Pair(template, service)


@pytest.fixture
def pair(born: Pair) -> Iterator[Pair]:
    """The two; what a test does to either is undone."""
    places = (born.template, born.service.path)
    starts = [git(place, "rev-parse", "HEAD").strip() for place in places]
    yield born
    for place, start in zip(places, starts, strict=True):
        git(place, "reset", "--quiet", "--hard", start)
        git(place, "clean", "--quiet", "--force", "-d")
