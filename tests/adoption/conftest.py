"""The services, adopted once for the session."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.adoption.services import Service, Workshop
from tests.harness import DEFAULT, Answers, Renderer

Adopted = Callable[[Service], Path]
Begun = Callable[[Service], Path]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of these install and run services, and share them: one worker does."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.xdist_group("adoption"))


@pytest.fixture(scope="session")
def workshop(
    renderer: Renderer,
    rendered: Callable[[Answers], Path],
    counterparts: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Workshop:
    """Copier, pip and the snapshot of the template."""
    lock = rendered(DEFAULT) / "requirements-dev.lock"
    return Workshop(renderer.template, lock, tmp_path_factory.mktemp("programs"))


@pytest.fixture(scope="session")
def adopted(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Adopted:
    """Take a service through the whole page, once. Tests leave the files as they were."""
    done: dict[str, Path] = {}

    def adopt(service: Service) -> Path:
        if service.name not in done:
            directory = tmp_path_factory.mktemp("adopted") / service.name
            workshop.begin(service, directory)
            workshop.take_in(service, directory)
            workshop.adopt(service, directory)
            done[service.name] = directory
        return done[service.name]

    return adopt


@pytest.fixture(scope="session")
def begun(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Begun:
    """Make a service as it was, once, on the same libraries."""
    done: dict[str, Path] = {}

    def begin(service: Service) -> Path:
        if service.name not in done:
            directory = tmp_path_factory.mktemp("begun") / service.name
            done[service.name] = workshop.begin(service, directory)
        return done[service.name]

    return begin
