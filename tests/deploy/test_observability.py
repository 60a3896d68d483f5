"""Rules and dashboard: sound by the tools, and with an answer from a Prometheus that scraped the real service."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from conformance.counterparts.postgres import Postgres
from conformance.description import from_render
from conformance.process import eventually
from conformance.rig import Profile, Rig

from tests.deploy import observability
from tests.deploy.observability import FOLDER, Prometheus
from tests.deploy.tools import output, tool
from tests.harness import DEFAULT, Answers, Service

# A minute is enough on a machine that does nothing else.
PATIENCE = 60.0
# Takes a quarter of an hour of silence; alerts_test.yaml shows when it fires.
TAKES_TOO_LONG = {"TrafficStopped"}


def test_promtool_accepts_rules(service: Path) -> None:
    output(
        tool("promtool"),
        "check",
        "rules",
        "--lint=all",
        "--lint-fatal",
        service / FOLDER / "alerts.yaml",
    )


def test_alerts_fire_when_they_should(service: Path) -> None:
    """The rules' own tests pass, and each alert has a case in which it fires and one in which it does not."""
    file = service / FOLDER / "alerts_test.yaml"
    output(tool("promtool"), "test", "rules", file.name, directory=file.parent)
    cases = [
        (case["alertname"], bool(case["exp_alerts"]))
        for test in yaml.safe_load(file.read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    for alert in observability.alerts(service):
        assert (alert, True) in cases and (alert, False) in cases, alert


def test_every_alert_has_a_runbook(service: Path) -> None:
    """The annotation leads to a section that names the alert and how urgent it is; no section is left over."""
    text = (service / "docs/runbooks.md").read_text()
    sections = dict(re.findall(r"^## (.+)\n\n(.+)$", text, flags=re.M))
    by_anchor = {title.lower().replace(" ", "-"): names for title, names in sections.items()}
    used = set()
    for name, rule in observability.alerts(service).items():
        page, anchor = rule["annotations"]["runbook"].split("#")
        assert page == "docs/runbooks.md"
        assert f"`{name}` ({rule['labels']['severity']})" in by_anchor[anchor]
        used.add(anchor)
    assert used == set(by_anchor)
    for anchor in re.findall(r"\]\(#([a-z-]+)\)", text):
        assert anchor in by_anchor


def test_runbooks_name_panels_that_exist(service: Path) -> None:
    titles = {panel["title"] for panel in observability.panels(service)}
    titles |= {"Duration of calls", "Targets"}
    text = (service / "docs/runbooks.md").read_text()
    assert set(re.findall(r'"([A-Z][^"]+)"', text)) <= titles | {
        title.split(",")[0] for title in titles
    }


def test_dashboard_is_sound(service: Path) -> None:
    """What Grafana would refuse or show badly: ids twice, panels that overlap, variables that nobody defines."""
    board = observability.dashboard(service)
    # Grafana's limit.
    assert len(board["uid"]) <= 40
    for key in ("id", "title"):
        assert max(Counter(panel[key] for panel in board["panels"]).values()) == 1
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24 and not cells & taken, panel["title"]
        taken |= cells
        refs = [target["refId"] for target in panel.get("targets", [])]
        assert len(refs) == len(set(refs)) and bool(refs) == (panel["type"] != "row")
    defined = {variable["name"] for variable in board["templating"]["list"]} | {
        "__rate_interval",
        "__all",
    }
    assert set(re.findall(r"\$\{?(\w+)", str(board))) <= defined


def test_promtool_accepts_every_expression(service: Path, tmp_path: Path) -> None:
    """As rules, since this is what promtool checks."""
    recorded = [
        {"record": f"panel:{number}", "expr": expression}
        for number, (_, expression) in enumerate(observability.queries(service))
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}))
    output(tool("promtool"), "check", "rules", file)


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('sum by (a) (rate(b_total{c="d",e=~"f.."}[5m])) / g or vector(0)', {"b_total", "g"}),
        ('a:b:rate5m{x="y"} > 14.4 * 0.001 and on (job) c offset 15m', {"a:b:rate5m", "c"}),
        ('label_replace(up, "dependency", "a-b (c", "", "")', {"up"}),
    ],
)
def test_metrics_of_an_expression(expression: str, names: set[str]) -> None:
    assert observability.metrics(expression) == names


@dataclass(frozen=True, slots=True)
class World:
    """The service with everything that it needs, under traffic, and the Prometheus that scrapes it."""

    service: Path
    rig: Rig
    prometheus: Prometheus
    runner: asyncio.Runner

    def wait(self, condition: Callable[[], Any]) -> Any:
        """Send traffic until the condition holds, and return what it returned last."""

        async def under_traffic() -> Any:
            traffic = asyncio.create_task(drive(self.rig))
            try:
                return await eventually(condition, within=PATIENCE, interval=0.5)
            finally:
                traffic.cancel()
                await asyncio.gather(traffic, return_exceptions=True)

        return self.runner.run(under_traffic())


async def drive(rig: Rig) -> None:
    """Use every route, well and badly, again and again."""
    while True:
        item = (await rig.create_item()).header("location") or "/items/1"
        for _ in range(2):
            await rig.client.get(item)
        await rig.client.request("PATCH", item, json={"description": "other"})
        await rig.client.request("DELETE", item)
        await rig.client.request("POST", rig.items, json={"name": 1})
        paths = (rig.items, "/nowhere", "/health/ready", *[rig.upstream_path] * 3)
        await asyncio.gather(*(rig.client.get(path) for path in paths))
        await asyncio.sleep(0.2)


@pytest.fixture(scope="module")
def world(installed: Callable[[Answers], Service]) -> Iterator[World]:
    """The default render, running."""
    path = installed(DEFAULT).path
    # In development it brings its schema itself.
    profile = Profile({"ENVIRONMENT": "development", "BREAKER_RECOVERY_TIMEOUT": "5"})
    with asyncio.Runner() as runner:
        rig, postgres = Rig(from_render(path), profile), Postgres()
        runner.run(postgres.start())
        try:
            runner.run(rig.start(postgres, "template1"))
            prometheus = Prometheus(path, rig.metrics_port)
            try:
                runner.run(prometheus.start())
                yield World(path, rig, prometheus, runner)
            finally:
                runner.run(prometheus.stop())
        finally:
            runner.run(rig.stop())
            runner.run(postgres.stop())


# One worker, and in one order: the outage comes last.
@pytest.mark.slow
@pytest.mark.xdist_group("default")
def test_every_expression_has_an_answer(world: World) -> None:
    """No empty panel, nothing watched that does not exist; then, with everything broken, every alert is active."""
    wanted = [
        *observability.queries(world.service),
        *(
            (rule["record"], rule["expr"])
            for rule in observability.rules(world.service)
            if "record" in rule
        ),
        *(
            (name, observability.without_thresholds(rule["expr"]))
            for name, rule in observability.alerts(world.service).items()
        ),
    ]
    # Something has to have failed before failures can be counted.
    world.rig.dependency.status = 500

    async def empty() -> list[tuple[str, str]]:
        return [(where, what) for where, what in wanted if not await world.prometheus.query(what)]

    async def none_empty() -> bool:
        return not await empty()

    world.wait(none_empty)
    assert world.runner.run(empty()) == []
    known = world.runner.run(world.prometheus.names())
    for where, expression in wanted:
        assert observability.metrics(expression) <= known, where
    check_labels_and_exemplars(world)
    check_alerts(world)


def check_labels_and_exemplars(world: World) -> None:
    """The label `service` is ours, and a sampled request leads to its trace."""
    query = world.prometheus.query
    assert world.runner.run(query('count(http_requests_total{service="user-service"})'))
    assert not world.runner.run(query('count({exported_service!=""})'))
    exemplars = world.runner.run(
        world.prometheus.exemplars('http_request_duration_seconds_bucket{service="user-service"}')
    )
    assert exemplars and all(re.fullmatch("[0-9a-f]{32}", e["trace_id"]) for e in exemplars)


def check_alerts(world: World) -> None:
    """Each alert becomes active when what it is for happens; the patience of `for` is promtool's part."""
    rig, wanted = world.rig, set(observability.alerts(world.service)) - TAKES_TOO_LONG
    assert rig.redis is not None and rig.proxy is not None
    seen: set[str] = set()

    async def active(*expected: str) -> bool:
        seen.update(await world.prometheus.alerts())
        return seen >= set(expected)

    world.wait(lambda: active("CircuitBreakerOpen", "AvailabilityBudgetBurnsFast"))
    rig.dependency.reset()
    rig.dependency.delay = 0.7
    world.wait(lambda: active("LatencyBudgetBurnsFast", "LatencyBudgetBurnsSlowly"))
    world.runner.run(rig.redis.kill())
    world.wait(lambda: active("CacheFails"))
    rig.proxy.set("reset")
    world.wait(lambda: active("ReadinessFails"))
    assert rig.process is not None
    world.runner.run(rig.process.stop())
    world.runner.run(eventually(lambda: active(*wanted), within=PATIENCE, interval=0.5))
    assert wanted <= seen, wanted - seen
