"""What the suite must be told about a service: how to start it, what it is called, and what it has."""

import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

ORIGIN = "https://app.example.com"
"""The origin that the suite allows in production."""

CONTRACT_ENVIRONMENT = {
    "ENVIRONMENT": "production",
    "HOST": "127.0.0.1",
    "PORT": "{port}",
    "METRICS_PORT": "{metrics_port}",
    "ALLOWED_ORIGINS": ORIGIN,
    "DATABASE_URL": "{database_url}",
    "REDIS_URL": "{redis_url}",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:{collector_port}",
    "OTEL_BSP_SCHEDULE_DELAY": "100",
    "DRAIN_SECONDS": "1",
    "GRACEFUL_TIMEOUT": "10",
    "REQUEST_TIMEOUT": "10",
    "DEPENDENCY_TIMEOUT": "1",
    "BREAKER_RECOVERY_TIMEOUT": "1",
    "OTEL_RESOURCE_ATTRIBUTES": "k8s.pod.name=conformance-pod",
}
"""The variables of the contract, with short times; `{...}` is filled in per started instance."""

_KEYS = {
    "name",
    "command",
    "directory",
    "environment",
    "dependencies",
    "features",
    "commands",
    "items",
    "upstreams",
    "openapi",
    "metrics",
    "staging_origins",
    "base_url",
    "metrics_url",
    "log_file",
}


class DescriptionError(Exception):
    """The description cannot be used; the text says which part."""


@dataclass(frozen=True, slots=True)
class Description:
    """A service as the suite sees it.

    `command` starts it (`{python}` is filled in). A service that runs already has `base_url` instead, and
    perhaps `metrics_url` and `log_file`. `items` and `upstreams` are the paths of the sample application,
    `openapi` that of the document, `metrics` where metrics are; None: the service has no such thing.
    """

    name: str
    command: tuple[str, ...] = ()
    directory: Path = Path()
    environment: Mapping[str, str] = field(default_factory=dict)
    dependencies: Mapping[str, int] = field(default_factory=dict)
    database: bool = False
    cache: bool = False
    commands: bool = True
    items: str | None = "/items"
    upstreams: str | None = "/upstreams/{dependency}"
    openapi: str | None = "/openapi.json"
    metrics: str = "http://127.0.0.1:{metrics_port}/metrics"
    staging_origins: tuple[str, ...] = ()
    base_url: str | None = None
    metrics_url: str | None = None
    log_file: Path | None = None

    @property
    def prefix(self) -> str:
        """Return the metric prefix."""
        return self.name.replace("-", "_")

    @property
    def capabilities(self) -> frozenset[str]:
        """Return what checks may need.

        That is http, process, logs, metrics, commands, database, cache, items, dependency and openapi.
        """
        found = {"http"}
        if self.command:
            found |= {"process", "logs", "metrics"}
        found |= {"metrics"} if self.metrics_url else set()
        found |= {"logs"} if self.log_file else set()
        found |= {"openapi"} if self.openapi else set()
        if self.command:
            found |= {"commands"} if self.commands else set()
            found |= {"database"} if self.database else set()
            found |= {"cache"} if self.cache else set()
            found |= {"items"} if self.database and self.items else set()
            found |= {"dependency"} if self.dependencies and self.upstreams else set()
        return frozenset(found)

    def argv(self, *arguments: str) -> list[str]:
        """Return the command line that runs the service's program."""
        return [part.replace("{python}", sys.executable) for part in (*self.command, *arguments)]

    def variables(self, values: Mapping[str, object]) -> dict[str, str]:
        """Return the environment for one instance: the contract's variables and the description's own, filled in."""
        wanted = {**CONTRACT_ENVIRONMENT, **self.environment}
        for dependency in self.dependencies:
            variable = f"{dependency.upper().replace('-', '_')}_URL"
            wanted.setdefault(variable, f"http://127.0.0.1:{{{dependency}}}")
        filled = {}
        for key, text in wanted.items():
            for name, value in values.items():
                text = text.replace("{" + name + "}", str(value))
            if "{" not in text:
                filled[key] = text
        return filled


def load(path: Path) -> Description:
    """Read a description from TOML, or derive it from a render (a directory, or its answers file).

    Raises:
        DescriptionError: the file is missing, is no TOML, or says too little or too much.
    """
    if path.is_dir():
        return from_render(path)
    if path.name.startswith(".copier-answers"):
        return from_render(path.parent)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DescriptionError(f"{path}: {error}") from None
    unknown = sorted(set(data) - _KEYS)
    if unknown:
        raise DescriptionError(
            f"{path}: unknown keys {', '.join(unknown)}; known are {', '.join(sorted(_KEYS))}"
        )
    if "name" not in data or not ("command" in data or "base_url" in data):
        raise DescriptionError(
            f"{path}: `name` and one of `command` (how to start it) and `base_url` are required"
        )
    return _from_data(data, path.parent.resolve())


def _from_data(data: dict[str, Any], here: Path) -> Description:
    features = data.pop("features", {})
    wrong = sorted(set(features) - {"database", "cache"})
    if wrong:
        raise DescriptionError(
            f"features: unknown {', '.join(wrong)}; known are database and cache"
        )
    for key in ("items", "upstreams", "openapi"):
        if data.get(key) is False:
            data[key] = None
    data["dependencies"] = parse_dependencies(data.get("dependencies", []))
    data["directory"] = here / data.get("directory", ".")
    if "log_file" in data:
        data["log_file"] = here / data["log_file"]
    for key in ("command", "staging_origins"):
        data[key] = tuple(data.get(key, ()))
    data["environment"] = {key: str(value) for key, value in data.get("environment", {}).items()}
    return replace(Description(**data), **features)


def parse_dependencies(listed: object) -> dict[str, int]:
    """Return names and ports of dependencies listed as `name:port`."""
    if isinstance(listed, str):
        listed = yaml.safe_load(listed) or []
    if not isinstance(listed, list):
        raise DescriptionError(f"dependencies: a list of name:port is wanted, not {listed!r}")
    found = {}
    for entry in listed:
        name, _, port = str(entry).partition(":")
        found[name] = int(port or 80)
    return found


def from_render(directory: Path) -> Description:
    """Derive the description of a rendered service from its answers; its `.venv` is used when there is one.

    Raises:
        DescriptionError: the directory holds no answers file.
    """
    answers_file = directory / ".copier-answers.yml"
    if not answers_file.exists():
        raise DescriptionError(f"{directory} holds no .copier-answers.yml: not a render")
    answers = yaml.safe_load(answers_file.read_text(encoding="utf-8"))
    python = directory / ".venv" / "bin" / "python"
    database = answers.get("database", "postgresql") != "none"
    return Description(
        name=answers["service_name"],
        command=(str(python) if python.exists() else "{python}", "-m", "app"),
        directory=directory.resolve(),
        dependencies=parse_dependencies(answers.get("dependencies") or []),
        database=database,
        cache=answers.get("cache", "redis") != "none",
        items="/items" if database else None,
        staging_origins=tuple(answers.get("staging_origins") or ()),
    )
