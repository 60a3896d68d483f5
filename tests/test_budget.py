"""A request of a fresh render costs no more than benchmarks/budget.toml says."""

import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from benchmarks import instructions
from benchmarks.collector import collector
from benchmarks.instructions import Instructions
from benchmarks.services import BARE, OURS, ROOT
from benchmarks.services import Service as Measured
from tests.deploy.tools import tool
from tests.harness import DEFAULT, Answers, Service

BUDGET = tomllib.loads((ROOT / "benchmarks" / "budget.toml").read_text())
REQUESTS = 512

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_request_costs_what_it_may(installed: Callable[[Answers], Service]) -> None:
    tool("valgrind")
    home = installed(DEFAULT).path / ".venv"

    def count(service: Measured) -> Instructions:
        with collector() as spans:
            return instructions.count(service, spans, REQUESTS)

    measured = [replace(service, home=home) for service in (BARE, OURS[1.0], OURS[0.1])]
    with ThreadPoolExecutor(2) as together:
        bare, *ours = together.map(count, measured)
    for service, counted in zip(measured[1:], ours, strict=True):
        allowed = BUDGET["ratio"][str(service.sampled)]
        ratio = counted.per_request / bare.per_request
        if ratio > allowed * (1 + BUDGET["tolerance"]):
            with collector() as spans:
                where = instructions.profile(service, spans)
            pytest.fail(
                f"{service.name}: a request costs {ratio:.3f} of bare, {allowed} is allowed; "
                f"see benchmarks/README.md. Where the time goes:\n{where}"
            )
