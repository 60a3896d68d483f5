"""compose.yaml: valid with every profile, on loopback only, and the slim profile comes up."""

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.conftest import Stack
from tests.deploy.tools import output, tool

OBSERVABILITY = {"collector", "grafana", "jaeger", "prometheus"}


def configuration(service: Path, profiles: str) -> dict[str, Any]:
    """What docker-compose understands."""
    command = (tool("docker-compose"), "config", "--format=json")
    environment = {"COMPOSE_PROFILES": profiles}
    found: dict[str, Any] = json.loads(output(*command, directory=service, environment=environment))
    return found


@pytest.mark.parametrize("profiles", ["", "observability"])
def test_every_profile_is_valid(service: Path, profiles: str) -> None:
    found = configuration(service, profiles)["services"]
    assert (set(found) >= OBSERVABILITY) == bool(profiles)
    endpoint = found["service"]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
    assert endpoint == ("http://collector:4317" if profiles else "")
    for name, container in found.items():
        for port in container.get("ports", []):
            assert port["host_ip"] == "127.0.0.1", name
        built_here = "build" in container or container.get("pull_policy") == "never"
        if not built_here:
            assert re.search(r":v?\d+\.\d+", container["image"]), "a tag that stays"


def test_no_two_containers_take_one_port(service: Path) -> None:
    found = configuration(service, "observability")["services"]
    ports = [port["published"] for c in found.values() for port in c.get("ports", [])]
    assert len(ports) == len(set(ports))


def test_what_is_mounted_is_there(service: Path) -> None:
    for name, container in configuration(service, "observability")["services"].items():
        for volume in container.get("volumes", []):
            if volume["type"] == "bind":
                assert Path(volume["source"]).exists(), name


def test_start_order_is_gated_by_health(service: Path) -> None:
    found = configuration(service, "observability")["services"]
    for name, container in found.items():
        for other, how in container.get("depends_on", {}).items():
            match how["condition"]:
                case "service_healthy":
                    assert "healthcheck" in found[other], f"{name} waits for {other}"
                case "service_completed_successfully":
                    assert other == "migrate"
                case _:
                    assert other in OBSERVABILITY
    assert ("migrate" in found) == ("postgres" in found)
    assert not set(found["service"].get("depends_on", {})) & OBSERVABILITY


def test_telemetry_goes_where_somebody_listens(service: Path) -> None:
    """Names and ports in the configuration files are those of compose.yaml."""
    found = configuration(service, "observability")["services"]
    folder = service / "deploy/observability"
    text = "".join(path.read_text() for path in folder.rglob("*.yaml"))
    hosts = set(re.findall(r"(?:http://|endpoint: |\")([a-z]+):\d+", text))
    assert hosts == {"jaeger", "prometheus", "service"}
    assert hosts <= set(found)
    metrics = [port["target"] for port in found["service"]["ports"]][1]
    assert f"service:{metrics}" in (folder / "prometheus.yaml").read_text()


@pytest.mark.slow
@pytest.mark.xdist_group("engine")
def test_the_slim_profile_comes_up(stack: Stack) -> None:
    assert stack.states() == {
        "migrate": ("exited", 0),
        "postgres": ("healthy", 0),
        "redis": ("healthy", 0),
        "service": ("healthy", 0),
    }
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.port + 1000}/metrics") as answer:
        metrics = answer.read()
    assert b"service_info{" in metrics
    assert b"health_check_status{" in metrics, "the container asks whether it is ready"
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.port}/health/ready") as answer:
        assert {c["status"] for c in json.load(answer)["checks"].values()} == {"healthy"}
