"""A Prometheus as compose.yaml starts it, and what the expressions of rules and dashboards consist of."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from conformance.process import Process, StartError, eventually, free_port
from conformance.wire import Client, WireError

from tests.deploy.tools import tool

FOLDER = Path("deploy/observability")
KEYWORDS = {"and", "or", "unless", "offset", "bool", "inf", "nan"}
THRESHOLD = re.compile(r" (==|>=|>) [\d.]+( \* [\d.]+)?")


class Prometheus:
    """The rendered configuration and rules on a server of this machine, at a pace for tests."""

    def __init__(self, service: Path, metrics_port: int) -> None:
        self._service, self._metrics_port = service, metrics_port
        self._client = Client(free_port())
        self._process: Process | None = None
        self._directory = Path(tempfile.mkdtemp(prefix="deploy-prometheus-"))

    async def start(self) -> None:
        """Start it and wait until it answers."""
        shutil.copytree(self._service / FOLDER, self._directory / "rules")
        config = self._directory / "rules/prometheus.yaml"
        settings = yaml.safe_load(config.read_text())
        settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        (job,) = settings["scrape_configs"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{self._metrics_port}"]}]
        config.write_text(yaml.safe_dump(settings))
        argv = [
            *(tool("prometheus"), f"--config.file={config}", "--enable-feature=exemplar-storage"),
            f"--storage.tsdb.path={self._directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._client.port}",
        ]
        self._process = Process(argv, {"PATH": os.environ["PATH"]}, self._directory)
        await self._process.start()
        if not await eventually(self._ready, within=30, interval=0.1):
            raise StartError("Prometheus did not come up", self._process.tail())

    async def stop(self) -> None:
        """Stop it and remove its data."""
        if self._process is not None:
            await self._process.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    async def _ready(self) -> bool:
        try:
            return (await self._client.get("/-/ready", within=1)).status == 200
        except WireError:
            return False

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Answer an instant query; series that are not a number are no answer."""
        found: list[dict[str, Any]] = (await self._api(f"query?query={quote(expression)}"))[
            "result"
        ]
        return [series for series in found if series["value"][1] != "NaN"]

    async def names(self) -> set[str]:
        """The names of all metrics that were scraped or recorded."""
        return set(await self._api("label/__name__/values"))

    async def exemplars(self, expression: str) -> list[dict[str, str]]:
        """The labels of the exemplars of a series."""
        found = await self._api(f"query_exemplars?query={quote(expression)}&start=0&end=9999999999")
        return [exemplar["labels"] for series in found for exemplar in series["exemplars"]]

    async def alerts(self) -> dict[str, str]:
        """The state, pending or firing, of every alert that is active."""
        return {a["labels"]["alertname"]: a["state"] for a in (await self._api("alerts"))["alerts"]}

    async def _api(self, path: str) -> Any:
        answer = (await self._client.get(f"/api/v1/{path}")).object()
        assert answer["status"] == "success", answer
        return answer["data"]


def dashboard(service: Path) -> dict[str, Any]:
    """The one dashboard of a render."""
    (file,) = (service / FOLDER / "dashboards").iterdir()
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def panels(service: Path) -> list[dict[str, Any]]:
    """The panels that show something."""
    return [panel for panel in dashboard(service)["panels"] if panel["type"] != "row"]


def queries(service: Path) -> Iterator[tuple[str, str]]:
    """Every expression of the dashboard with its panel's title, as Grafana would send it."""
    for panel in panels(service):
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", "1m").replace("$path", ".+")
            yield panel["title"], expression


def rules(service: Path) -> list[dict[str, Any]]:
    """All rules, those that record and those that alert."""
    groups = yaml.safe_load((service / FOLDER / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts(service: Path) -> dict[str, dict[str, Any]]:
    """The alerts by name."""
    return {rule["alert"]: rule for rule in rules(service) if "alert" in rule}


def metrics(expression: str) -> set[str]:
    """The names of the metrics in an expression."""
    bare = re.sub(r'"(\\.|[^"\\])*"', "", expression)
    bare = re.sub(r"\b(by|on|without|ignoring|group_left|group_right) *\([^)]*\)", "", bare)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", bare)
    return set(re.findall(r"\b[A-Za-z_:][\w:]*\b(?! *\()", bare)) - KEYWORDS


def without_thresholds(expression: str) -> str:
    """What an alert watches: its expression before anything is compared, of now."""
    watched = re.sub(r" offset \w+", "", THRESHOLD.sub("", expression))
    return re.sub(r"^absent\((.*)\)$", r"\1", watched)
