"""What is in the way of an update is said before anything is written, with what to do about it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import commit, git
from tests.updates.pair import Pair
from tests.updates.test_make_update import edit, quick, save, set_git

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("make-update")]

ANSWERS = ".copier-answers.yml"


@pytest.fixture(autouse=True)
def nothing_half_written(pair: Pair, request: pytest.FixtureRequest) -> object:
    """After every refusal, the service is what was committed, apart from what the test itself left uncommitted."""
    yield
    left = git(pair.service.path, "status", "--porcelain", "--untracked-files=all").splitlines()
    assert [line for line in left if "uncommitted" not in line] == []


@pytest.mark.parametrize("shown", ["normal", "no"])
@pytest.mark.parametrize("name", ["uncommitted.txt", "src/app/uncommitted.py"])
def test_dirty_tree(name: str, shown: str, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that is not committed could not be told from the update, whatever git is set to show of it."""
    set_git(monkeypatch, f"status.showUntrackedFiles={shown}")
    (pair.service.path / name).write_text("mine\n")
    said = pair.refusal()
    assert f"Commit or stash these first; an update needs a clean tree:\n?? {name}" in said
    assert (pair.service.path / name).read_text() == "mine\n"


HAND_EDITS: dict[str, Callable[[str], str]] = {
    "unparsable": lambda text: f"{text}  port: [\n",
    "no commit": lambda text: "".join(
        line for line in text.splitlines(keepends=True) if not line.startswith("_commit")
    ),
    "another commit": lambda text: text.replace("_commit: ", "_commit: 0"),
    "another answer": lambda text: text.replace("port: 8000", "port: 9000"),
    "answer that is wrong": lambda text: text.replace("port: 8000", "port: 80"),
    "an answer more": lambda text: f"{text}language: python\n",
    "nothing left": lambda text: "",
}


@pytest.mark.parametrize("change", HAND_EDITS.values(), ids=HAND_EDITS)
def test_answers_edited_by_hand(change: Callable[[str], str], pair: Pair) -> None:
    """Copier would take another answer for one that the service had been made with, and merge by it."""
    path = pair.service.path / ANSWERS
    path.write_text(change(path.read_text()))
    save(pair.service.path)
    said = pair.refusal()
    assert f"{ANSWERS} was edited by hand. Undo that, `git log --patch" in said
    assert "make update ARGS='--data <question>=<answer>'" in said
    assert "Traceback" not in said


def test_answers_file_is_gone(pair: Pair) -> None:
    """The same sentence."""
    (pair.service.path / ANSWERS).unlink()
    save(pair.service.path)
    assert "Undo that, `git log --patch" in pair.refusal()


def test_answer_that_is_no_longer_valid(pair: Pair) -> None:
    """Copier would replace it by the default without a word; here somebody has to choose."""
    quick(pair)
    edit(pair.template, "copier.yml", '"3.12", "3.13", "3.14"', '"3.12", "3.14"')
    edit(pair.template, "copier.yml", 'default: "3.13"', 'default: "3.14"')
    said = pair.refusal()
    assert "An answer is not accepted; to give another: make update ARGS=" in said
    assert "Copier says: ValueError: Invalid choice for 'python_version': '3.13'" in said
    pair.update("ARGS=--data python_version=3.12")
    assert "python:3.12-slim" in (pair.service.path / "Dockerfile").read_text()
    save(pair.service.path)


def test_version_that_is_too_old(pair: Pair) -> None:
    """The way leads over the oldest version that is supported."""
    sentence = "Updates are supported from version "
    edit(pair.template, "UPGRADING.md", f"{sentence}1.0.0.dev0", f"{sentence}2.0.0")
    said = pair.refusal()
    assert "This service is of version " in said
    assert "the new one takes services from 2.0.0 on" in said
    assert "Go there first: make update ARGS='--vcs-ref 2.0.0'" in said


def test_template_that_moved(pair: Pair, tmp_path: Path) -> None:
    """Its new address is the one line of the answers that may be edited."""
    quick(pair)
    edit(pair.template, "template/Makefile.jinja", "# This file", "# Still, this file")
    moved = tmp_path / "moved"
    pair.template.rename(moved)
    try:
        said = pair.refusal()
        assert f"The template is not to be had at _src_path, {pair.template}. When it has" in said
        edit(pair.service.path, ANSWERS, f"_src_path: {pair.template}", f"_src_path: {moved}")
        pair.update()
    finally:
        moved.rename(pair.template)
    assert "# Still" in (pair.service.path / "Makefile").read_text()
    save(pair.service.path)


def test_template_that_cannot_be_reached(pair: Pair) -> None:
    """The same for an address on the network."""
    nowhere = "_src_path: https://127.0.0.1:9/template.git"
    edit(pair.service.path, ANSWERS, f"_src_path: {pair.template}", nowhere)
    said = pair.refusal()
    assert "The template is not to be had at _src_path, https://127.0.0.1:9/template.git." in said


def test_template_without_its_history(pair: Pair, tmp_path: Path) -> None:
    """The commit that the service was made from is needed to tell its edits."""
    rewritten = tmp_path / "rewritten"
    shutil.copytree(pair.template, rewritten, ignore=shutil.ignore_patterns(".git"))
    (rewritten / "another.txt").write_text("Its commit has another hash.\n")
    commit(rewritten)
    edit(pair.service.path, ANSWERS, f"_src_path: {pair.template}", f"_src_path: {rewritten}")
    assert "The template has no such commit" in pair.refusal()


def test_no_repository(pair: Pair, tmp_path: Path) -> None:
    """An update merges by what git has."""
    repository = pair.service.path / ".git"
    repository.rename(tmp_path / "git")
    try:
        assert "not a git repository" in pair.refusal()
    finally:
        (tmp_path / "git").rename(repository)


def test_option_that_is_none(pair: Pair) -> None:
    """Copier's own sentence is enough."""
    assert "Copier says: Error: Unknown switch --nonsense" in pair.refusal("ARGS=--nonsense")
