"""The manifests: built by kustomize, valid by schema, sensible, and strict enough for a policy."""

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import manifests
from tests.deploy.manifests import Manifest, containers, find, pod, references
from tests.deploy.tools import call, output, tool

KUBERNETES = "1.37"
# What kubernetes-validate cannot know: custom resources.
UNKNOWN = re.compile(r"(?i)\b(servicemonitor|prometheusrule)\b")
WAIVED = {
    "KSV-0125": "the registry is the team's answer, not one of the scanner's own list",
    "KSV-01010": "takes the names PORT and LOG_LEVEL for secrets",
}
QUANTITY = re.compile(r"(\d+)(m|Ki|Mi|Gi)?")
MEBIBYTES = {"Mi": 1, "Gi": 1024}


@pytest.fixture(params=["staging", "production"])
def environment(request: pytest.FixtureRequest) -> str:
    """An overlay."""
    return str(request.param)


@pytest.fixture
def overlay(service: Path, environment: str) -> tuple[Manifest, ...]:
    """What an overlay makes."""
    return manifests.build(service / "deploy/kubernetes/overlays" / environment)


@pytest.fixture
def monitored(service: Path, tmp_path: Path) -> tuple[Manifest, ...]:
    """Production as a team switches monitoring on: by taking the comment sign away."""
    folder = tmp_path / "kubernetes"
    shutil.copytree(service / "deploy/kubernetes", folder)
    kustomization = folder / "overlays/production/kustomization.yaml"
    text = kustomization.read_text()
    assert "# - ../../monitoring" in text
    kustomization.write_text(text.replace("# - ../../monitoring", "- ../../monitoring"))
    return manifests.build(kustomization.parent)


def test_schemas_accept_everything(
    overlay: Sequence[Manifest], monitored: Sequence[Manifest], tmp_path: Path
) -> None:
    file = tmp_path / "manifests.yaml"
    file.write_text(yaml.safe_dump_all([*overlay, *monitored]))
    done = call(tool("kubernetes-validate"), "-k", KUBERNETES, "--strict", file)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    warned = [line for line in said.splitlines() if line.startswith(("WARN", "ERROR"))]
    assert [line for line in warned if not UNKNOWN.search(line)] == []


def test_policy_finds_nothing(service: Path, monitored: Sequence[Manifest], tmp_path: Path) -> None:
    scanned = tmp_path / "scanned"
    scanned.mkdir()
    (scanned / "manifests.yaml").write_text(yaml.safe_dump_all(monitored))
    (scanned / "Dockerfile").write_bytes((service / "Dockerfile").read_bytes())
    (tmp_path / "ignore").write_text("\n".join(WAIVED))
    output(
        *(tool("trivy"), "config", "--quiet", "--skip-check-update", "--exit-code=1"),
        *(f"--ignorefile={tmp_path / 'ignore'}", f"--cache-dir={tmp_path / 'cache'}", scanned),
    )


def test_all_that_a_deployment_needs_is_there(overlay: Sequence[Manifest]) -> None:
    kinds = [manifest["kind"] for manifest in overlay]
    assert sorted(kinds) == [
        *("ConfigMap", "Deployment", "HorizontalPodAutoscaler", "Ingress", "NetworkPolicy"),
        *("PodDisruptionBudget", "Service", "ServiceAccount"),
    ]
    assert len({manifest["metadata"]["namespace"] for manifest in overlay}) == 1


def test_selectors_select_the_pods(monitored: Sequence[Manifest]) -> None:
    labels = find(monitored, "Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        find(monitored, "Deployment")["spec"]["selector"]["matchLabels"],
        find(monitored, "Service")["spec"]["selector"],
        find(monitored, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        find(monitored, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(s["labelSelector"]["matchLabels"] for s in pod(monitored)["topologySpreadConstraints"]),
    ]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels.items()
    assert len({manifest["metadata"]["namespace"] for manifest in monitored}) == 1
    watched = find(monitored, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
    assert watched.items() <= find(monitored, "Service")["metadata"]["labels"].items()


def test_ports_are_named_and_the_names_exist(monitored: Sequence[Manifest]) -> None:
    (container,) = pod(monitored)["containers"]
    numbers = {port["name"]: port["containerPort"] for port in container["ports"]}
    variables = manifests.variables(monitored, container)
    assert numbers == {"http": int(variables["PORT"]), "metrics": int(variables["METRICS_PORT"])}
    offered = {port["name"]: port for port in find(monitored, "Service")["spec"]["ports"]}
    assert {name: port["targetPort"] for name, port in offered.items()} == {n: n for n in numbers}
    assert {name: port["port"] for name, port in offered.items()} == numbers
    assert {probe["port"] for probe in references(container, "httpGet")} == {"http"}
    policy = find(monitored, "NetworkPolicy")["spec"]["ingress"]
    assert [[port["port"] for port in rule["ports"]] for rule in policy] == [["http"], ["metrics"]]
    assert [e["port"] for e in find(monitored, "ServiceMonitor")["spec"]["endpoints"]] == [
        "metrics"
    ]


def test_the_ingress_leads_to_the_api_alone(overlay: Sequence[Manifest], environment: str) -> None:
    ingress = find(overlay, "Ingress")["spec"]
    backends = list(references(ingress, "backend"))
    name = find(overlay, "Service")["metadata"]["name"]
    assert backends == [{"service": {"name": name, "port": {"name": "http"}}}]
    (host,) = references(ingress, "host")
    assert ingress["tls"][0]["hosts"] == [host]
    assert ("staging" in host) == (environment == "staging"), "the overlay's patch found it"


def test_references_lead_somewhere(overlay: Sequence[Manifest]) -> None:
    names = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in overlay}
    spec = pod(overlay)
    assert ("ServiceAccount", spec["serviceAccountName"]) in names
    target = find(overlay, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) in names
    for reference in references(spec, "configMapRef"):
        assert ("ConfigMap", reference["name"]) in names
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    mounted = {m["name"] for mounts in references(spec, "volumeMounts") for m in mounts}
    assert volumes == mounted


def test_no_secret_has_a_value_here(service: Path) -> None:
    for path in (service / "deploy").rglob("*.yaml"):
        assert "kind: Secret" not in path.read_text()
    built = manifests.build(service / "deploy/kubernetes/overlays/production")
    for container in containers(pod(built)):
        names = set(manifests.variables(built, container))
        assert not names & {"DATABASE_URL", "REDIS_URL"}


def mebibytes(quantity: str) -> int:
    found = QUANTITY.fullmatch(quantity)
    assert found
    return int(found[1]) * MEBIBYTES[found[2]]


def millicores(quantity: str) -> int:
    found = QUANTITY.fullmatch(quantity)
    assert found
    return int(found[1]) * (1 if found[2] == "m" else 1000)


def test_requests_fit_into_limits(overlay: Sequence[Manifest]) -> None:
    for container in containers(pod(overlay)):
        requests, limits = container["resources"]["requests"], container["resources"]["limits"]
        assert 0 < mebibytes(requests["memory"]) <= mebibytes(limits["memory"])
        # One process with one thread of Python: a second core would stay idle.
        assert 0 < millicores(requests["cpu"]) <= millicores(limits["cpu"]) == 1000


def test_pods_are_restricted(overlay: Sequence[Manifest]) -> None:
    spec = pod(overlay)
    assert spec["enableServiceLinks"] is False
    assert spec["automountServiceAccountToken"] is False
    assert find(overlay, "ServiceAccount")["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(spec):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }


PROBES: dict[str, tuple[str, int]] = {
    "startupProbe": ("/health/live", 2),
    "livenessProbe": ("/health/live", 10),
    "readinessProbe": ("/health/ready", 5),
}


def test_probes_ask_what_and_when_the_service_expects(overlay: Sequence[Manifest]) -> None:
    (container,) = pod(overlay)["containers"]
    for name, (path, period) in PROBES.items():
        probe = container[name]
        assert (probe["httpGet"]["path"], probe["periodSeconds"]) == (path, period)
        assert probe["timeoutSeconds"] == 3, "readiness answers within 2 s"
    assert "lifecycle" not in container, "the service drains by itself"


def constant(service: Path, module: str, name: str) -> float:
    """A number that a module of the chassis names."""
    text = (service / "chassis/src/chassis" / f"{module}.py").read_text()
    found = re.search(rf"^{name}(?:: \w+)? = ([\d.]+)$", text, re.MULTILINE)
    assert found
    return float(found[1])


def test_a_stop_has_as_much_time_as_it_can_take(service: Path, overlay: Sequence[Manifest]) -> None:
    (container,) = pod(overlay)["containers"]
    variables = manifests.variables(overlay, container)
    resources = (service / "src/app/container.py").read_text().count("resources.push(")
    needed = (
        float(variables["DRAIN_SECONDS"])
        + float(variables["GRACEFUL_TIMEOUT"])
        + resources * constant(service, "lifecycle", "CLOSE_TIMEOUT")
        + constant(service, "tracing", "SHUTDOWN_SECONDS")
    )
    assert needed < pod(overlay)["terminationGracePeriodSeconds"] <= needed + 5


def answers(service: Path) -> dict[str, Any]:
    """What the questionnaire was told, as Copier remembers it."""
    told: dict[str, Any] = yaml.safe_load((service / ".copier-answers.yml").read_text())
    return told


def test_answers_arrive(service: Path, environment: str, overlay: Sequence[Manifest]) -> None:
    told = answers(service)
    (container,) = pod(overlay)["containers"]
    variables = manifests.variables(overlay, container)
    assert variables["ENVIRONMENT"] == environment
    assert variables["ALLOWED_ORIGINS"] == ",".join(told[f"{environment}_origins"])
    assert container["image"] == f"{told['image_registry']}/{told['service_name']}:0.1.0"
    assert {manifest["metadata"]["namespace"] for manifest in overlay} == {told["namespace"]}
    urls = {value for name, value in variables.items() if name.endswith("_URL")}
    assert urls == {f"http://{dependency}" for dependency in told["dependencies"]}
    attributes = variables["OTEL_RESOURCE_ATTRIBUTES"]
    assert "$(" not in attributes
    assert f"k8s.node.name={manifests.FIELDS['spec.nodeName']}" in attributes


def test_egress_is_what_the_features_need(service: Path, overlay: Sequence[Manifest]) -> None:
    told = answers(service)
    expected = {4317, 53, *(int(d.split(":")[1]) for d in told["dependencies"])}
    expected |= {5432} if told["database"] == "postgresql" else set()
    expected |= {6379} if told["cache"] == "redis" else set()
    egress = find(overlay, "NetworkPolicy")["spec"]["egress"]
    assert set(references(egress, "port")) == expected
    tcp = [p["port"] for r in egress for p in r["ports"] if p.get("protocol") != "UDP"]
    assert len(tcp) == len(set(tcp)), "each port once"


def test_what_is_off_leaves_nothing_behind(service: Path) -> None:
    text = "".join(path.read_text().lower() for path in written(service))
    told = answers(service)
    assert ("postgres" in text) == (told["database"] == "postgresql")
    assert ("migrat" in text) == (told["database"] == "postgresql")
    assert ("redis" in text) == (told["cache"] == "redis")
    assert ("_url=http" in text) == bool(told["dependencies"])


def written(service: Path) -> Iterator[Path]:
    yield service / "compose.yaml"
    yield service / "Dockerfile"
    yield service / ".dockerignore"
    yield from (service / "deploy").rglob("*.y*ml")
    yield service / "deploy/README.md"
