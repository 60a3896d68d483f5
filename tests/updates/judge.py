"""What an update has to do to every file of a service, whatever its team did to it before.

Four trees decide: what the old version made, what the new one makes of the same answers, the service before the update
and after. `git merge-file` is the oracle for a file that both sides changed: Copier applies a patch instead, and
falls back to it.
"""

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.harness import git

Files = Mapping[str, bytes]
# What was promised to be the team's. Not read from copier.yml, which could break the promise.
TEAM = (
    *("src/app", "tests", "migrations", "deploy/kubernetes/overlays"),
    *("pyproject.toml", "requirements.lock", "requirements-dev.lock"),
    *(".env.example", "README.md", "renovate.json"),
)
# Copier writes it anew; tests/updates/test_bad_input.py says what becomes of edits.
ANSWERS = ".copier-answers.yml"
LEFTOVERS = (".rej", ".orig")
MARKERS = (b"<<<<<<< ", b">>>>>>> ")


def is_team(name: str) -> bool:
    """Say whether a file belongs to the team."""
    return any(name == owned or name.startswith(f"{owned}/") for owned in TEAM)


@dataclass(frozen=True, slots=True)
class Update:
    """One update: four trees of files, and what git reports as unmerged with the service's side of it."""

    old: Files
    new: Files
    before: Files
    after: Files
    unmerged: Files

    def problems(self) -> Iterator[str]:
        """Yield a sentence for every file that is not as it has to be."""
        for name in sorted({*self.old, *self.new, *self.before, *self.after} - {ANSWERS}):
            if name.endswith(LEFTOVERS):
                yield f"{name} was left behind"
            elif name in self.unmerged:
                yield from self._conflict(name)
            else:
                for expected in self._expected(name):
                    if self.after.get(name) != expected:
                        yield f"{name} is not as expected:\n{expected!r}\n{self.after.get(name)!r}"

    def _expected(self, name: str) -> Iterator[bytes | None]:
        """Yield the right content, None for no file, unless only a conflict would be right."""
        old, new, before = (side.get(name) for side in (self.old, self.new, self.before))
        if is_team(name) or new in (old, before):
            yield before
        elif before == old:
            yield new
        elif before is None:
            # A file that the team deleted stays away, although the template changed it.
            yield None
        elif new is None:
            # The trap: Copier deletes it. Only below chassis/ does the template give up files; make update tells.
            yield None if name.startswith("chassis/") else before
        else:
            merged, clean = merge(before, old or b"", new)
            yield merged if clean else b"an unmerged entry"

    def _conflict(self, name: str) -> Iterator[str]:
        """Check that a conflict is one, and that nothing is lost in it."""
        old, new, before = (side.get(name) for side in (self.old, self.new, self.before))
        if before is None or new is None or merge(before, old or b"", new)[1]:
            yield f"{name} is unmerged without need"
        if self.unmerged[name] != before:
            yield f"{name} has lost the service's side"
        if not all(marker in self.after.get(name, b"") for marker in MARKERS):
            yield f"{name} is unmerged, but has no markers"


def merge(ours: bytes, base: bytes, theirs: bytes) -> tuple[bytes, bool]:
    """Merge by three; say what comes out, and whether without a conflict."""
    with TemporaryDirectory() as directory:
        paths = [Path(directory, name) for name in ("ours", "base", "theirs")]
        for path, content in zip(paths, (ours, base, theirs), strict=True):
            path.write_bytes(content)
        done = subprocess.run(
            ["git", "merge-file", "--stdout", *map(str, paths)], check=False, capture_output=True
        )
    return done.stdout, done.returncode == 0


def unmerged(service: Path) -> dict[str, bytes]:
    """Read from git's index which files are in conflict, and the service's side of each."""
    listed = git(service, "ls-files", "--unmerged", "-z").split("\0")
    entries = [entry.split("\t") for entry in listed if entry]
    names = {name for _, name in entries}
    sides = {name: details.split()[1] for details, name in entries if details.endswith(" 2")}
    return {
        name: git(service, "cat-file", "blob", sides[name]).encode() if name in sides else b""
        for name in names
    }
