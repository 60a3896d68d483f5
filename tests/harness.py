"""Render the template and run what it rendered.

Everything is rendered from a snapshot of the work tree that is committed with a fixed date: two
renders are comparable, and work that goes on beside the tests does not change them half-way.
"""

import itertools
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import copier

ROOT = Path(__file__).resolve().parent.parent

Answers = Mapping[str, object]

DEFAULT: Answers = {}
BARE: Answers = {"database": "none", "cache": "none", "dependencies": [], "ci": "none"}
FEATURES: dict[str, list[object]] = {
    "database": ["postgresql", "none"],
    "cache": ["redis", "none"],
    "dependencies": [["auth-service:8080", "billing:8081"], []],
    "ci": ["github", "gitlab", "none"],
}
COMBINATIONS: list[Answers] = [
    dict(zip(FEATURES, values, strict=True)) for values in itertools.product(*FEATURES.values())
]

# git must neither ask nor read what this machine's user has configured.
GIT_ENVIRONMENT = {
    "GIT_AUTHOR_DATE": "2026-01-01T00:00:00+0000",
    "GIT_AUTHOR_EMAIL": "tests@example.com",
    "GIT_AUTHOR_NAME": "tests",
    "GIT_COMMITTER_DATE": "2026-01-01T00:00:00+0000",
    "GIT_COMMITTER_EMAIL": "tests@example.com",
    "GIT_COMMITTER_NAME": "tests",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}

# A rendered service has a virtual environment of its own, and its make was not called by ours.
OF_THE_CALLER = {"VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "ARGS"}

# Our own tests take all cores; a service's share one.
ONE_WORKER = {"PYTEST_XDIST_AUTO_NUM_WORKERS": "1"}


def label(answers: Answers) -> str:
    """Name a combination of answers for a test's id."""
    return "-".join(f"{len(v)}deps" if isinstance(v, list) else str(v) for v in answers.values())


def git(directory: Path, *arguments: str) -> str:
    """Run git in `directory` and return what it printed."""
    return subprocess.run(
        ["git", *arguments],
        cwd=directory,
        env={**os.environ, **GIT_ENVIRONMENT},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def commit(directory: Path) -> None:
    """Make `directory` a repository with everything in it committed."""
    git(directory, "init", "--quiet", "--initial-branch=main")
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--message=Snapshot")


def copy_work_tree(destination: Path) -> None:
    """Copy what git knows or would add, uncommitted work included."""
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, destination / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def snapshot(destination: Path) -> Path:
    """Make a repository of the work tree as it is."""
    copy_work_tree(destination)
    commit(destination)
    return destination


@dataclass(frozen=True, slots=True)
class Renderer:
    """Copier on one snapshot of the template."""

    template: Path

    def __call__(
        self, destination: Path, answers: Answers = DEFAULT, version: str = "HEAD"
    ) -> Path:
        copier.run_copy(
            str(self.template),
            destination,
            data=dict(answers),
            defaults=True,
            quiet=True,
            vcs_ref=version if (self.template / ".git").exists() else None,
        )
        return destination


def files(directory: Path) -> dict[str, bytes]:
    """Read every file below `directory`, by its relative path."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and ".git" not in path.relative_to(directory).parts
    }


@dataclass(frozen=True, slots=True)
class Service:
    """A rendered and installed service."""

    path: Path

    def make(self, *arguments: str) -> str:
        """Run make and return all of its output; a failure shows it."""
        return self.run("make", *arguments)

    def run(self, *command: str) -> str:
        """Run a command in the service and return all of its output; a failure shows it."""
        return run(command, self.path)


def run(
    command: Sequence[str], directory: Path, environment: Mapping[str, str] | None = None
) -> str:
    """Run a command without a terminal and return its output, which a failure shows."""
    inherited = {name: value for name, value in os.environ.items() if name not in OF_THE_CALLER}
    finished = subprocess.run(
        command,
        cwd=directory,
        env={**inherited, **GIT_ENVIRONMENT, **ONE_WORKER, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if finished.returncode:
        raise AssertionError(
            f"{' '.join(command)} ended with {finished.returncode}:\n{finished.stdout}"
        )
    return finished.stdout


def replaced(text: str, old: str, new: str, count: int = -1) -> str:
    """Replace what must be there."""
    assert old in text
    return text.replace(old, new, count)
