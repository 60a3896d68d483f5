"""What kustomize makes of a render, and how a container engine would be told to run it."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.tools import output, tool

Manifest = dict[str, Any]

FIELDS = {
    "metadata.name": "user-service-7d9c-x2x4z",
    "metadata.namespace": "services",
    "metadata.uid": "5bd1c1a4-0a5a-4f0e-9c52-0d8b6c1f6e4c",
    "spec.nodeName": "node-1",
}


@functools.cache
def build(directory: Path) -> tuple[Manifest, ...]:
    """Let kustomize make the manifests, once: tests only read them."""
    made = output(tool("kubectl"), "kustomize", directory)
    return tuple(manifest for manifest in yaml.safe_load_all(made) if manifest)


def find(manifests: Sequence[Manifest], kind: str) -> Manifest:
    """The one manifest of a kind."""
    (found,) = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found


def pod(manifests: Sequence[Manifest]) -> dict[str, Any]:
    """The pod's specification."""
    spec: dict[str, Any] = find(manifests, "Deployment")["spec"]["template"]["spec"]
    return spec


def containers(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Init containers and containers."""
    return [*spec.get("initContainers", []), *spec["containers"]]


def variables(manifests: Sequence[Manifest], container: Mapping[str, Any]) -> dict[str, str]:
    """The environment that a kubelet would give to a container."""
    values: dict[str, str] = dict(find(manifests, "ConfigMap")["data"])
    for entry in container.get("env", []):
        if "valueFrom" in entry:
            value = FIELDS[entry["valueFrom"]["fieldRef"]["fieldPath"]]
        else:
            value = entry["value"]
            for name, known in values.items():
                value = value.replace(f"$({name})", known)
        values[entry["name"]] = value
    return values


def run_options(
    manifests: Sequence[Manifest], container: Mapping[str, Any], secrets: Path
) -> list[str]:
    """The options of `docker run` that mean what the manifest says."""
    spec = pod(manifests)
    user, rights = spec["securityContext"], container["securityContext"]
    assert rights["readOnlyRootFilesystem"]
    assert not rights["allowPrivilegeEscalation"]
    limits = container["resources"]["limits"]
    return [
        f"--user={user['runAsUser']}:{user['runAsGroup']}",
        "--read-only",
        "--security-opt=no-new-privileges",
        *(f"--cap-drop={capability}" for capability in rights["capabilities"]["drop"]),
        f"--memory={limits['memory'].removesuffix('i').lower()}",
        f"--cpus={limits['cpu']}",
        "--pids-limit=100",
        *(f"--env={name}={value}" for name, value in variables(manifests, container).items()),
        *(
            f"--volume={secrets}:{mount['mountPath']}:ro"
            for mount in container.get("volumeMounts", [])
        ),
    ]


def references(value: object, key: str) -> Iterator[Any]:
    """Everything below `value` that stands under `key`, at any depth."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key:
                yield inner
            yield from references(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner, key)
