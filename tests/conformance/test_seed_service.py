"""The suite can fail: on the seed's own sketches it finds what is unsafe about them."""

import pytest

from conformance.conftest import Judge
from conformance.description import Description
from conformance.registry import Verdict
from conformance.report_html import page
from conformance.report_text import Painter, scorecard
from conformance.runner import Report

# What is wrong with each sketch, and the check that must see it.
UNSAFE = {
    "one_connection": "a pool of connections per request",
    "cache_lost": "readiness that fails with the cache and tells the error",
    "database_hung": "probes one after the other, without a limit",
    "pooled": "a client session per call",
    "standard_body_of_items": "`message=exc.detail`, whatever type that has",
    "standard_body": "a handler on FastAPI's HTTPException, which misses the router's own errors",
    "validation": "`details=exc.errors()`, which echoes what was sent",
    "trace_header_everywhere": "a uuid4 for a trace id",
    "one_trace_id": "ids in log, span and body that have nothing to do with each other",
    "only_json": "log handlers beside the server's own",
    "all_problems": "settings that end in a traceback",
    "no_wildcard": "`*` with credentials, accepted in production",
    "unmatched": "the request's path as a label",
    "errors_counted": "metrics after `call_next`, which exceptions pass by",
    "on_errors": "a 500 without CORS headers",
    "ratio": "a breaker that counts consecutive failures only",
    "one_probe": "a breaker that lets all callers probe at once",
    "late_success": "a breaker that a late success closes",
    "resource": "a tracer provider without a resource",
    "untraced": "probes traced, and a span per message",
    "own_port": "metrics on the public port",
    "failing_commit": "a COMMIT after the response",
    "draining": "a listener that closes at once on SIGTERM",
    "client_secrets": "query strings in the log",
}
SAFE = ["live", "strangers"]


@pytest.fixture(scope="module")
def report(judge: Judge, seed: Description) -> Report:
    return judge(seed, [*UNSAFE, *SAFE])


@pytest.mark.parametrize("check", UNSAFE)
def test_the_suite_sees_what_is_unsafe(check: str, report: Report) -> None:
    results = [result for found in report.results.values() for result in found]
    verdicts = {result.check.name: (result.verdict, result.measured) for result in results}
    assert verdicts[check][0] is Verdict.FAIL, f"{UNSAFE[check]}: {verdicts[check]}"


@pytest.mark.parametrize("check", SAFE)
def test_the_suite_sees_what_is_safe(check: str, report: Report) -> None:
    results = [result for found in report.results.values() for result in found]
    assert {result.check.name: result.verdict for result in results}[check] is Verdict.PASS


def test_the_scorecard_names_each_improvement_and_what_is_missing(report: Report) -> None:
    text = " ".join(scorecard(report, Painter(colour=False)).split())
    assert not report.holds
    assert "9 Error responses" in text
    assert "connections were opened for a pool of one" in text


def test_the_page_stands_alone(report: Report) -> None:
    html = page(report)
    assert "contract conformance" in html
    assert "src=" not in html and "href=" not in html and "<script" not in html
