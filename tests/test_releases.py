"""The version stands in one place, reaches the service, and every release can be found without tags."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import yaml
from packaging.version import Version

from tests.harness import DEFAULT, ROOT, Answers, Renderer, git

VERSION = (ROOT / "VERSION").read_text().strip()
RELEASES: dict[str, str] = tomllib.loads((ROOT / "releases.toml").read_text())["releases"]


def headings(name: str) -> list[str]:
    """List the second-level headings of a page."""
    return re.findall(r"^## (.*)$", (ROOT / name).read_text(), re.MULTILINE)


def test_version_reaches_the_service(
    rendered: Callable[[Answers], Path], renderer: Renderer
) -> None:
    """`template_version` is the version, in a clone that has no tags."""
    assert git(renderer.template, "tag") == ""
    service = rendered(DEFAULT)
    facts = tomllib.loads((service / "chassis/src/chassis/service.toml").read_text())
    assert facts["template_version"] == VERSION
    assert VERSION not in yaml.safe_load((service / ".copier-answers.yml").read_text())["_commit"]


def test_version_is_written_once() -> None:
    """The project's own metadata has no second version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "version" not in project and project["dynamic"] == ["version"]
    assert str(Version(VERSION)) == VERSION


def test_pages_and_releases_agree() -> None:
    """Every released version has a section in the changelog and a commit, newest first."""
    first, *released = headings("CHANGELOG.md")
    versions = [section.split()[0] for section in released]
    assert first == "Unreleased"
    assert all(re.fullmatch(r"\S+ \(\d{4}-\d\d-\d\d\)", section) for section in released)
    assert versions == sorted(versions, key=Version, reverse=True)
    # The release itself is committed before its hash can be known.
    assert {*RELEASES} in ({*versions}, {*versions} - {VERSION})
    assert all(Version(VERSION) > Version(version) for version in RELEASES)


def test_released_commits_are_what_they_say() -> None:
    """Each commit is complete, in the history, and has its version in VERSION."""
    for version, commit in RELEASES.items():
        assert re.fullmatch(r"[0-9a-f]{40}", commit)
        assert git(ROOT, "show", f"{commit}:VERSION").strip() == version
