"""`make update` tells, merges, renews, tests, and fails when somebody has to look; `make drift` shows edits."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_cookies.plugin import Cookies  # type: ignore[import-untyped]

from tests.harness import BARE, commit, git, replaced, run
from tests.test_cookiecutter import typed
from tests.updates.pair import Pair

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("make-update")]

MODULE = "chassis/src/chassis/origins.py"
# Stands in for what follows the merge, where that is not what the test is about.
QUICK = "lock env check test:\n\t@echo made $@\n"
# Copier that gives up in the middle of an update.
BROKEN = """#!/bin/sh
[ "$1" = update ] || exec copier "$@"
echo half > Makefile
echo half > half.txt
echo "disk full" >&2
exit 1
"""


def edit(place: Path, name: str, old: str, new: str) -> None:
    """Edit a file and commit."""
    path = place / name
    path.write_text(replaced(path.read_text(), old, new, 1))
    save(place)


def save(place: Path) -> None:
    """Commit everything."""
    git(place, "add", "--all")
    git(place, "commit", "--quiet", "--message=Next")


def quick(pair: Pair) -> None:
    """Skip what follows the merge."""
    (pair.service.path / "local.mk").write_text(QUICK)
    save(pair.service.path)


def set_git(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    """Set git as a user may have it in all repositories."""
    name, value = setting.split("=", 1)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", name)
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", value)


def test_update_does_everything(pair: Pair) -> None:
    """New notes are shown, the template comes forward, a library of its is locked and installed, and all tests pass."""
    notes = "# Upgrading\n\n## To 9.0.0\n\n- Tell your users.\n\n"
    edit(pair.template, "UPGRADING.md", "# Upgrading\n", notes)
    edit(pair.template, f"template/{MODULE}", "\nimport re\n", "\nimport re\n\nimport tenacity\n")
    module = (pair.template / f"template/{MODULE}").read_text()
    (pair.template / f"template/{MODULE}").write_text(f"{module}\n\nRETRY = tenacity.retry\n")
    edit(
        *(pair.template, "template/chassis/pyproject.toml.jinja"),
        *("dependencies = [\n", 'dependencies = [\n    "tenacity>=9,<10",\n'),
    )
    edit(pair.template, "VERSION", (pair.template / "VERSION").read_text(), "9.0.0\n")

    said = pair.service.make("update")

    assert re.search(r"^From \S+ \(\S+\) to 9\.0\.0 \(\S+\)\.$", said, re.MULTILINE)
    assert "Tell your users." in said
    assert "For services that were rendered before" not in said
    assert "TOTAL" in said
    assert "Updated. Before you deploy" in said.splitlines()[-1]
    for lock in ("requirements.lock", "requirements-dev.lock"):
        assert "\ntenacity==" in (pair.service.path / lock).read_text()
    save(pair.service.path)
    assert pair.service.make("drift") == ""


def test_nothing_new_is_nothing_to_do(pair: Pair) -> None:
    """No lock is renewed and no test is run."""
    # A test before this one may have left another lock installed.
    assert pair.update().splitlines()[-1].startswith("Nothing to update")
    assert git(pair.service.path, "status", "--porcelain") == ""


def test_conflict_is_an_error_that_says_what_to_do(pair: Pair) -> None:
    """The file is named and marked, and nothing else is done to it."""
    quick(pair)
    edit(pair.service.path, MODULE, '"""', '"""Ours. ')
    edit(pair.template, f"template/{MODULE}", '"""', '"""Theirs. ')
    said = pair.refusal()
    assert f"which are marked, in:\n{MODULE}\n" in said
    assert "`git add`" in said and "make lock env" in said and "made lock" not in said
    assert "<<<<<<< before updating" in (pair.service.path / MODULE).read_text()


@pytest.mark.parametrize(
    "setting",
    ["status.showUntrackedFiles=no", "apply.whitespace=error", "merge.conflictStyle=zdiff3"],
)
def test_edits_survive_however_git_is_set(
    setting: str, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the first two, Copier alone drops edits and ends with 0."""
    quick(pair)
    set_git(monkeypatch, setting)
    clean, clash = MODULE, "chassis/src/chassis/cors.py"
    with (pair.service.path / clean).open("a") as module:
        module.write("# Ours, with blanks at its end.   \n")
    edit(pair.service.path, clash, '"""', '"""Ours. ')
    for name in (clean, clash):
        edit(pair.template, f"template/{name}", '"""', '"""Theirs. ')
    said = pair.refusal()
    assert f"which are marked, in:\n{clash}\nEdit" in said and "dropped" not in said
    merged = (pair.service.path / clean).read_text()
    assert "Theirs. " in merged and "# Ours, " in merged


def test_edits_that_copier_drops_are_an_error(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the reason: here, git is set to ignore a file of the template's."""
    quick(pair)
    ignored = tmp_path / "ignored"
    ignored.write_text("origins.py\n")
    set_git(monkeypatch, f"core.excludesFile={ignored}")
    edit(pair.service.path, MODULE, '"""', '"""Ours. ')
    (pair.service.path / "src/app/ours.py").write_text('"""Ours."""\n')
    save(pair.service.path)
    edit(pair.template, f"template/{MODULE}", "\nimport re\n", "\nimport re  # theirs\n")
    said = pair.refusal()
    assert f"which git can be set to cause, from:\n{MODULE}\n`git show" in said
    assert "Ours." in git(pair.service.path, "show", f"HEAD:{MODULE}")


def test_edited_file_that_the_template_gave_up_is_an_error(pair: Pair) -> None:
    """Copier deletes it without a word."""
    quick(pair)
    gone, unedited = "chassis/tests/test_origins.py", "chassis/tests/test_cors.py"
    edit(pair.service.path, gone, '"""', '"""Ours. ')
    for name in (gone, unedited):
        (pair.template / f"template/{name}").unlink()
    save(pair.template)
    said = pair.refusal()
    assert f"they are deleted:\n{gone}\n`git show HEAD:<file>`" in said
    assert "Ours." in git(pair.service.path, "show", f"HEAD:{gone}")


def test_answer_is_changed_by_an_update(pair: Pair) -> None:
    """ARGS are for the update alone; what follows it takes none."""
    quick(pair)
    said = pair.update("ARGS=--data ci=github --data 'description=it is \"ours\"'")
    assert said.count("made ") == 4
    assert (pair.service.path / ".github/workflows/ci.yml").exists()
    assert "ours" in (pair.service.path / "chassis/src/chassis/service.toml").read_text()


def test_result_that_does_not_pass_is_an_error(pair: Pair) -> None:
    """A merge without conflicts can be wrong all the same."""
    (pair.service.path / "local.mk").write_text(QUICK.replace("echo made $@", "test $@ != check"))
    save(pair.service.path)
    edit(pair.template, f"template/{MODULE}", '"""', '"""Theirs. ')
    assert "does not pass: mend it" in pair.refusal()


def test_failed_update_is_put_back(pair: Pair, tmp_path: Path) -> None:
    """Nothing stays half-written."""
    copier = tmp_path / "copier"
    copier.write_text(BROKEN)
    copier.chmod(0o755)
    edit(pair.template, f"template/{MODULE}", '"""', '"""Theirs. ')
    said = pair.refusal(f"COPIER={copier}")
    assert "nothing was changed.\nCopier says: disk full" in said
    assert git(pair.service.path, "status", "--porcelain") == ""


def test_drift_shows_edits_of_the_templates_files_only(pair: Pair) -> None:
    """Edited and deleted ones; not the team's, not shared ones, not what a team added."""
    root = pair.service.path
    for name in (MODULE, "Dockerfile", ".gitignore", "src/app/main.py", "README.md"):
        (root / name).write_text(f"{(root / name).read_text()}# ours\n")
    (root / "compose.yaml").unlink()
    (root / "tests/conftest.py").unlink()
    (root / "chassis/own.txt").write_text("ours\n")
    with pytest.raises(AssertionError) as failed:
        pair.service.make("drift", "COPIER=copier")
    shown = str(failed.value)
    assert re.findall(r"^--- template/(.*)$", shown, re.MULTILINE) == [MODULE, "compose.yaml"]
    assert "+# ours\n" in shown and "-name: user-service\n" in shown


def test_drift_knows_a_service_made_by_cookiecutter(pair: Pair, cookies: Cookies) -> None:
    """Nothing differs at birth, and an edit is shown."""
    baked = cookies.bake(extra_context=typed(BARE), template=str(pair.template))
    commit(baked.project_path)
    drift = [sys.executable, "chassis/tools/update.py", "drift"]
    assert run(drift, baked.project_path, {"COPIER": "copier"}) == ""
    (baked.project_path / MODULE).write_text("")
    with pytest.raises(AssertionError, match=f"template/{MODULE}"):
        run(drift, baked.project_path, {"COPIER": "copier"})


def test_check_update_says_whether_there_is_a_newer_version(pair: Pair) -> None:
    """As the service's README promises: exit code 2 with --quiet."""
    command = ["copier", "check-update", "--quiet"]
    codes = []
    try:
        for version in ("1.0.0", "1.1.0"):
            git(pair.template, "tag", version)
            codes.append(subprocess.run(command, cwd=pair.service.path, check=False).returncode)
            git(pair.template, "commit", "--quiet", "--allow-empty", "--message=Next")
    finally:
        git(pair.template, "tag", "--delete", "1.0.0", "1.1.0")
    assert codes == [0, 2]
