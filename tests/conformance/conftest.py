"""What the suite's own tests share."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from conformance.description import Description, load
from conformance.runner import Report, run_suite

Judge = Callable[..., Report]

SEED = Path(__file__).parent / "fixtures" / "seed_service" / "description.toml"


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker that selects these tests, since they take minutes."""
    config.addinivalue_line(
        "markers", "conformance: runs services against the contract; takes minutes"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test here, and keep them on one worker: they share services, and load disturbs them."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.conformance)
            item.add_marker(pytest.mark.xdist_group("conformance"))


@pytest.fixture(scope="session")
def judge() -> Judge:
    """Run checks against a described service and return the report."""

    def run(description: Description, only: Sequence[str] = ()) -> Report:
        return asyncio.run(run_suite(description, only))

    return run


@pytest.fixture(scope="session")
def seed() -> Description:
    """The service made of the seed's sketches."""
    return load(SEED)
