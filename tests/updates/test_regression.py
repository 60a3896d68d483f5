"""A service that was made by an old version and edited for years takes the new one without a loss."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness import Renderer, Service, commit, files, git
from tests.updates import team
from tests.updates.judge import LEFTOVERS, MARKERS, Update, unmerged
from tests.updates.versions import EARLIER, VERSIONS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@dataclass(frozen=True, slots=True)
class Updated:
    """A service after its update, and what the update did."""

    service: Service
    update: Update
    said: str


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(version, id=version[:7], marks=pytest.mark.xdist_group(version))
        for version in VERSIONS
    ],
)
def updated(
    request: pytest.FixtureRequest, history: Renderer, tmp_path_factory: pytest.TempPathFactory
) -> Updated:
    """Render the old version, install and edit it, commit, and update."""
    base = tmp_path_factory.mktemp("updated")
    service = Service(history(base / "service", version=request.param))
    old = files(service.path)
    git(service.path, "init", "--quiet")
    service.make("install")
    team.edit(service)
    commit(service.path)
    before = tracked(service.path)
    said = service.run("copier", "update", "--defaults", "--vcs-ref=HEAD")
    new = files(history(base / "new"))
    return Updated(
        service, Update(old, new, before, tracked(service.path), unmerged(service.path)), said
    )


def tracked(service: Path) -> dict[str, bytes]:
    """Read every file that git has or would take."""
    listed = git(service, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split(
        "\0"
    )
    return {name: (service / name).read_bytes() for name in {*listed} if (service / name).is_file()}


def test_update_has_no_conflict(updated: Updated) -> None:
    """Nothing is unmerged, no marker is in a file, nothing is left over, and it says what comes next."""
    assert updated.update.unmerged == {}
    for name, content in updated.update.after.items():
        assert not name.endswith(LEFTOVERS)
        assert not any(line.startswith(MARKERS) for line in content.splitlines()), name
    assert "Before you deploy" in updated.said


def test_every_edit_is_there(updated: Updated) -> None:
    """The team's files are as they were, files that both changed have both changes, what went stays away."""
    assert [*updated.update.problems()] == []
    after = updated.update.after
    for name, lines in team.LINES.items():
        assert all(line in after[name].decode() for line in lines), name
    assert "renovate.json" not in after
    assert not [name for name in after if name.startswith(team.SAMPLE)]


def test_unedited_files_equal_a_fresh_render(updated: Updated) -> None:
    """`make drift`, as the new version brings it, shows the edits of the template's files and nothing else."""
    with pytest.raises(AssertionError) as shown:
        updated.service.make("drift", "COPIER=copier")
    named = {line for line in str(shown.value).splitlines() if line.startswith("--- template/")}
    assert named == {"--- template/deploy/observability/alerts.yaml"}


def test_service_passes_its_own_checks_and_tests(updated: Updated) -> None:
    """After the steps that the update asks for."""
    updated.service.make("lock", "env")
    updated.service.make("check")
    output = updated.service.make("test")
    assert "TOTAL" in output


def test_versions_are_in_the_history(history: Renderer) -> None:
    """Every commit is what a clone has, oldest first, and the upgrade notes name the oldest one that is supported."""
    assert len(EARLIER) >= 3
    for older, newer in zip([*VERSIONS], [*VERSIONS[1:], "HEAD"], strict=True):
        subprocess.run(
            ["git", "merge-base", "--is-ancestor", older, newer], cwd=history.template, check=True
        )
    notes = (history.template / "UPGRADING.md").read_text()
    assert f"commits since `{VERSIONS[0][:7]}`" in notes.replace("\n", " ")
