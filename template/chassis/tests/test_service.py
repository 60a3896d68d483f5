"""The answers as data: they must hold for every answer set, so nothing here names one."""

import dataclasses
import re
import tomllib
from importlib import metadata, resources

import pytest

from chassis import service


def test_read_gives_the_rendered_answers() -> None:
    text = resources.files("chassis").joinpath("service.toml").read_text("utf-8")
    answers = tomllib.loads(text)

    facts = service.read()

    assert facts.name == answers["name"]
    assert facts.description == answers["description"]
    assert facts.port == answers["port"]
    assert facts.template_version == answers["template_version"]
    assert list(facts.staging_origins) == answers["staging_origins"]
    assert dict(facts.dependencies) == answers["dependencies"]


def test_the_answers_are_usable() -> None:
    facts = service.read()

    assert re.fullmatch(r"[a-z][a-z0-9-]*", facts.name)
    assert 0 < facts.port < 65536
    assert facts.template_version
    assert all(0 < port < 65536 for port in facts.dependencies.values())


@pytest.mark.criterion("S1")
def test_the_facts_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        service.read().name = "other"  # type: ignore[misc]


@pytest.mark.criterion("M1")
def test_the_metric_prefix_is_allowed_in_a_metric_name() -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", service.read().metric_prefix)
    assert service.snake_case("auth-service-v2") == "auth_service_v2"


def test_the_version_is_the_installed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", {service.read().name: "1.2.3"}.__getitem__)

    assert service.read().version == "1.2.3"


def test_a_service_that_is_not_installed_has_a_version_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def not_installed(distribution: str) -> str:
        raise metadata.PackageNotFoundError(distribution)

    monkeypatch.setattr(metadata, "version", not_installed)

    assert service.read().version == "0.0.0"
