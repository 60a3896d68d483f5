"""What the suite's own tests share."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from conformance.description import Description, load
from conformance.runner import Report, run_suite

Judge = Callable[..., Report]

SEED = Path(__file__).parent / "fixtures" / "seed_service" / "description.toml"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All but the bookkeeping run services, for minutes, and share them: one worker does, since load disturbs them."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.path.name != "test_coverage.py":
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.xdist_group("conformance"))


@pytest.fixture(scope="session")
def judge(counterparts: None) -> Judge:
    """Run checks against a described service and return the report."""

    def run(description: Description, only: Sequence[str] = ()) -> Report:
        return asyncio.run(run_suite(description, only))

    return run


@pytest.fixture(scope="session")
def seed() -> Description:
    """The service made of the seed's sketches."""
    return load(SEED)
