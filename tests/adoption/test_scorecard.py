"""The scorecard: red before, green after where it applies."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conformance.description import load
from conformance.registry import Result, Verdict, all_checks
from conformance.runner import run_suite
from tests.adoption.services import AUTH, BLOG, SERVICES, USER, Service

Directory = Callable[[Service], Path]

each_service = pytest.mark.parametrize("service", SERVICES, ids=lambda service: str(service.name))

# One thing that is wrong with every one of them, for each improvement that can be seen from outside.
MISSING = {
    "L": "client_secrets",
    "M": "names_and_labels",
    "T": "trace_header",
    "C": "rules",
    "H": "live",
    "S": "unknown_values",
    "E": "standard_body",
}
# Seconds each, about code that is the chassis's alone: judged on a fresh render, and by the page's own command.
LONG = {
    "bad_collectors",
    "bad_origins",
    "bounded",
    "cancelled_probe",
    "cardinality",
    "defaults",
    "drain_under_load",
    "failures",
    "ids_without_export",
    "lost_probe",
    "no_wildcard",
    "normalised",
    "one_probe",
    "probe_logs",
    "property_based",
    "recovery",
    "retry_budget",
    "scraped",
    "signals",
}


def judge(directory: Path, names: list[str]) -> Iterator[Result]:
    """Run checks on a service by its own description."""
    report = asyncio.run(run_suite(load(directory / "conformance.toml"), names))
    for results in report.results.values():
        yield from results


@each_service
def test_before_every_improvement_is_missing(service: Service, begun: Directory) -> None:
    """The services are what the improvements are for."""
    names = [*MISSING.values(), *(["threshold"] if service is AUTH else [])]
    found = {result.check.name: result.verdict for result in judge(begun(service), names)}
    assert found == dict.fromkeys(names, Verdict.FAIL)


@each_service
def test_after_every_judged_criterion_holds(service: Service, adopted: Directory) -> None:
    """What does not apply is named by the suite; nothing fails."""
    assert {check.name for check in all_checks()} >= LONG
    names = [check.name for check in all_checks() if check.name not in LONG]
    results = list(judge(adopted(service), names))
    bad = [
        f"{r.check.criterion} {r.check.title}: {r.verdict}: {r.measured}"
        for r in results
        if r.verdict not in (Verdict.PASS, Verdict.NOT_APPLICABLE)
    ]
    assert bad == []
    passed = {result.check.name for result in results if result.verdict is Verdict.PASS}
    assert passed >= {*MISSING.values()}
    of_its_own = {
        BLOG.name: {"nothing_configured"},
        AUTH.name: {"threshold", "rejection", "dependency_metrics", "outward"},
        USER.name: {"migrate_twice", "cache_lost", "start_without_database", "live_without_io"},
    }
    assert passed >= of_its_own[service.name]
