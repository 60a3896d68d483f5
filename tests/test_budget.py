"""A request of a fresh render costs no more than benchmarks/budget.toml says."""

import shutil
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from benchmarks import instructions
from benchmarks.collector import collector
from benchmarks.instructions import Instructions
from benchmarks.services import BARE, OURS, ROOT
from tests.harness import DEFAULT, Answers, Service

BUDGET = tomllib.loads((ROOT / "benchmarks" / "budget.toml").read_text())
REQUESTS = 512

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        shutil.which("valgrind") is None, reason="valgrind counts: apt install valgrind"
    ),
]


def test_a_request_costs_what_it_may(installed: Callable[[Answers], Service]) -> None:
    home = installed(DEFAULT).path / ".venv"

    def count(sampled: str) -> Instructions:
        service = OURS[float(sampled)] if sampled in BUDGET["ratio"] else BARE
        with collector() as spans:
            return instructions.count(replace(service, home=home), spans, REQUESTS)

    with ThreadPoolExecutor(2) as together:
        bare, *ours = together.map(count, ["bare", *BUDGET["ratio"]])
    for (sampled, allowed), counted in zip(BUDGET["ratio"].items(), ours, strict=True):
        ratio = counted.per_request / bare.per_request
        assert ratio <= allowed * (1 + BUDGET["tolerance"]), (
            f"sampled at {sampled}, a request costs {ratio:.3f} of bare; {allowed} is allowed. "
            f"See benchmarks/README.md. Where it goes:\n{instructions.top(counted)}"
        )
