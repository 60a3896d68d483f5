"""The judge of updates condemns every way of losing an edit."""

import pytest

from tests.updates.judge import Update

BASE = b"one\ntwo\nthree\nfour\nfive\n"
OURS = BASE.replace(b"one", b"ours")
THEIRS = BASE.replace(b"five", b"theirs")
BOTH = OURS.replace(b"five", b"theirs")
CLASH = BASE.replace(b"one", b"theirs")
MARKED = b"<<<<<<< before\nours\n=======\ntheirs\n>>>>>>> after\ntwo\n"


def file(name: str, *sides: bytes | None, unmerged: bytes | None = None) -> Update:
    """An update of one file: in the old version, in the new one, before and after."""
    old, new, before, after = ({} if side is None else {name: side} for side in sides)
    return Update(old, new, before, after, {} if unmerged is None else {name: unmerged})


GOOD = {
    "unedited": file("Makefile", BASE, THEIRS, BASE, THEIRS),
    "merged": file("Makefile", BASE, THEIRS, OURS, BOTH),
    "reported": file("Makefile", BASE, CLASH, OURS, MARKED, unmerged=OURS),
    "team's": file("src/app/main.py", BASE, THEIRS, OURS, OURS),
    "team's deleted": file("src/app/main.py", BASE, THEIRS, None, None),
    "team's new": file("src/app/main.py", None, THEIRS, None, None),
    "template's deleted by the team": file("Makefile", BASE, THEIRS, None, None),
    "added by the team": file("own.txt", None, None, OURS, OURS),
    "given up": file("chassis/tests/test_x.py", BASE, None, OURS, None),
}


@pytest.mark.parametrize("update", GOOD.values(), ids=GOOD)
def test_right_updates_pass(update: Update) -> None:
    """What an update should do is no problem."""
    assert [*update.problems()] == []


BAD = {
    "stale": file("Makefile", BASE, THEIRS, BASE, BASE),
    "edit overwritten": file("Makefile", BASE, THEIRS, OURS, THEIRS),
    "update refused": file("Makefile", BASE, THEIRS, OURS, OURS),
    "conflict hidden": file("Makefile", BASE, CLASH, OURS, CLASH),
    "conflict without need": file("Makefile", BASE, THEIRS, OURS, MARKED, unmerged=OURS),
    "conflict without markers": file("Makefile", BASE, CLASH, OURS, CLASH, unmerged=OURS),
    "conflict without our side": file("Makefile", BASE, CLASH, OURS, MARKED, unmerged=BASE),
    "team's changed": file("src/app/main.py", BASE, THEIRS, OURS, BOTH),
    "team's deleted": file("src/app/main.py", BASE, None, OURS, None),
    "team's back": file("src/app/main.py", BASE, THEIRS, None, THEIRS),
    "team's made": file("src/app/main.py", None, THEIRS, None, THEIRS),
    "template's back": file("Makefile", BASE, THEIRS, None, THEIRS),
    "added by the team and gone": file("own.txt", None, None, OURS, None),
    "given up outside the chassis": file("compose.yaml", BASE, None, OURS, None),
    "left over": file("Makefile.rej", None, None, None, OURS),
}


@pytest.mark.parametrize("update", BAD.values(), ids=BAD)
def test_losses_are_found(update: Update) -> None:
    """One file, one problem, which names it."""
    (problem,) = update.problems()
    assert problem.startswith(next(iter({**update.after, **update.before, **update.old})))


def test_copiers_own_file_is_left_out() -> None:
    """The answers file is written anew on every update."""
    answers = file(".copier-answers.yml", BASE, THEIRS, BASE, BASE)
    assert [*answers.problems()] == []
