"""The default render holds every criterion of the contract."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from conformance.conftest import Judge
from conformance.criteria import read_contract
from conformance.description import from_render
from conformance.process import slowness
from conformance.registry import Verdict
from conformance.runner import Report
from conformance.whitebox import WHITE_BOX

Installed = Callable[[Mapping[str, object]], Any]


@pytest.fixture(scope="session")
def report(installed: Installed, judge: Judge) -> Report:
    """Everything, once, on the default render."""
    path: Path = installed({}).path
    return judge(from_render(path))


@pytest.mark.parametrize("criterion", read_contract())
def test_criterion_holds(criterion: str, report: Report) -> None:
    results = report.results[criterion]
    bad = [result for result in results if result.verdict is not Verdict.PASS]
    assert not bad, "\n".join(f"{r.check.title}: {r.verdict}: {r.measured}" for r in bad)
    assert results or criterion in WHITE_BOX


def test_it_takes_less_than_six_minutes(report: Report) -> None:
    """On two cores of its own; its own work is a load of two to three."""
    others = max(1.0, os.getloadavg()[1] / 3, slowness())
    assert report.seconds < 360 * others
