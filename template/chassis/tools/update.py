"""What `make update` and `make drift` do around Copier, which renders and merges.

Copier replaces an answer that became wrong by its default, deletes an edited file that the template gave up, drops
edits where git is set in some ways, ends with 0 on conflicts and with a traceback on an answers file that it cannot
read. So everything that can be wrong is found out before anything is written, a failure leaves the service as it was,
and whatever could get lost is an exit code of 1.
"""

import difflib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.version import InvalidVersion, Version

ANSWERS = ".copier-answers.yml"
FACTS = "chassis/src/chassis/service.toml"
NOTES = "chassis/UPGRADING.md"
# What an update leaves alone (the team's) or merges with edits that are welcome (shared): never drift.
NOT_OURS = re.compile(
    r"(src/app/|tests/|migrations/|pyproject\.toml|requirements(-dev)?\.lock|\.env\.example|README\.md"
    r"|deploy/kubernetes/overlays/|renovate\.json|Dockerfile|\.gitignore|\.editorconfig)"
)
# Copier looks for conflicts with `git status` and carries edits over with `git apply`: with an untracked file that is
# not shown, or one blank that `git apply` refuses, it drops them without a word.
GIT_SETTINGS = {"status.showUntrackedFiles": "normal", "apply.whitespace": "nowarn"}
CHANGE = "make update ARGS='--data <question>=<answer>'"
RESTORE = (
    f"Undo that, `git log --patch {ANSWERS}` has the last good one; to change an answer: {CHANGE}"
)
# How Copier 9 begins its complaints, and what helps.
ADVICE = [
    (
        r"Unknown revision",
        "The template has no such commit: render from one that is pushed, and keep its history.",
    ),
    (
        r"Local template must be a directory|fatal: |exit code: 128",
        "The template is not to be had at _src_path, {source}. When it has moved, write its new address there, commit "
        "and try again.",
    ),
    (
        r"Validation error|Invalid (choice|answer)",
        f"An answer is not accepted; to give another: {CHANGE}",
    ),
]


class Problem(Exception):
    """What is in the way, and what to do about it, in sentences for the terminal."""


@dataclass(frozen=True, slots=True)
class Render:
    """What the template made, or makes, of this service's answers."""

    path: Path

    def text(self, name: str) -> str:
        """Read a file; one that is not there is empty."""
        file = self.path / name
        return file.read_text("utf-8", "replace") if file.is_file() else ""

    def version(self) -> Version | None:
        """Say which version of the template it is; before the first release there was none."""
        found = re.search(r'^template_version = "(.+)"$', self.text(FACTS), re.MULTILINE)
        try:
            return Version(found[1]) if found else None
        except InvalidVersion:
            return None

    def name(self) -> str:
        """Name it by its version and commit."""
        return f"{self.version()} ({recorded('_commit', self)})"

    def names(self) -> Iterator[str]:
        """List the files."""
        for file in sorted(self.path.rglob("*")):
            if file.is_file():
                yield file.relative_to(self.path).as_posix()

    def ours(self) -> Iterator[str]:
        """List the files that belong to the template."""
        return (name for name in self.names() if not NOT_OURS.match(name))

    def edited(self) -> list[str]:
        """List the template's files that are different here, or deleted."""
        return [name for name in self.ours() if not same(self.path / name, Path(name))]


HERE = Render(Path())


def main() -> int:
    command, *options = sys.argv[1:]
    try:
        with TemporaryDirectory() as work:
            return {"update": update, "drift": drift}[command](Path(work), options)
    except Problem as problem:
        print(problem, file=sys.stderr)
        return 1


def drift(work: Path, _options: list[str]) -> int:
    """Print, as a diff, where the template's files differ from what it made; 1 if one does."""
    made = render(work, recorded("_commit"))
    edited = made.edited()
    for name in edited:
        before, after = (
            text.splitlines(keepends=True) for text in (made.text(name), HERE.text(name))
        )
        sys.stdout.writelines(difflib.unified_diff(before, after, f"template/{name}", name))
    return 1 if edited else 0


def update(work: Path, options: list[str]) -> int:
    """Bring the template's files forward, renew what follows from them, and run the tests."""
    # Whatever the user's git shows: an update that fails removes what is new.
    if changes := git("status", "--porcelain", "--untracked-files=normal"):
        raise Problem(f"Commit or stash these first; an update needs a clean tree:\n{changes}")
    old = render(work / "old", recorded("_commit"))
    new = render(work / "new", None, options)
    supported(old, new)
    if new.text(ANSWERS) == HERE.text(ANSWERS):
        print("Nothing to update: this is what the template makes of these answers.")
        return 0
    print(*news(old, new), sep="\n", flush=True)
    edited = [name for name in old.edited() if Path(name).exists()]
    mine = saved(work / "mine", {*old.names(), *new.names()})
    merge(options)
    conflicts = git("diff", "--relative", "--name-only", "--diff-filter=U").split("\n")
    gone = [name for name in edited if not Path(name).exists()]
    report(conflicts, gone, losses(mine, old, new, conflicts))
    if not renewed():
        raise Problem(
            "The update is merged, but does not pass: mend it, then make lock env and make check test."
        )
    print(
        f"Updated. Before you deploy: do what is listed above, or read it by git diff {NOTES}; then commit."
    )
    return 0


def recorded(key: str, service: Render = HERE) -> str:
    """Read where the template is, or which commit of it, from an answers file that is as Copier wrote it."""
    lines = service.text(ANSWERS).rstrip("\n").split("\n")
    answers = "\n".join(line for line in lines if not line.startswith("#"))
    without_source = re.sub(r"(?m)^_src_path:.*", "", answers)
    if f"# {sha256(without_source.encode()).hexdigest()}" not in lines:
        raise Problem(f"{ANSWERS} was edited by hand. {RESTORE}")
    found = re.search(rf"(?m)^{key}: *['\"]?(.+?)['\"]?$", answers)
    if not found:
        raise Problem(f"{ANSWERS} has no {key}. {RESTORE}")
    return found[1]


def render(directory: Path, commit: str | None, options: list[str] | None = None) -> Render:
    """Let Copier make this service anew: at a commit, or at the version that `options` or its tags choose."""
    source = recorded("_src_path")
    chosen = ["--vcs-ref", commit] if commit else options or []
    # --overwrite: rules that became stricter let recorded answers pass, as in an update.
    settings = ["--quiet", "--defaults", "--overwrite", "--data-file", ANSWERS]
    done = copier("copy", *settings, *chosen, source, str(directory))
    if done.returncode:
        causes = (advice for cause, advice in ADVICE if re.search(cause, done.stderr, re.MULTILINE))
        raise Problem(f"{next(causes, '').format(source=source)}\n{complaint(done)}".strip())
    return Render(directory)


def supported(old: Render, new: Render) -> None:
    """Refuse a service that is older than the new version takes."""
    found = re.search(
        r"^Updates are supported from version (\S+) on", new.text(NOTES), re.MULTILINE
    )
    version = old.version()
    if found and (version is None or version < Version(found[1])):
        raise Problem(
            f"This service is of version {version or 'none yet'}; the new one takes services from {found[1]} on. "
            f"Go there first: make update ARGS='--vcs-ref {found[1]}'"
        )


def news(old: Render, new: Render) -> Iterator[str]:
    """Yield the sections of the upgrade notes that the service has not had yet."""
    known = sections(old.text(NOTES))
    unread = [section for section in sections(new.text(NOTES)) if section not in known]
    yield f"From {old.name()} to {new.name()}."
    yield from unread or [f"Nothing to do by hand, says {NOTES}."]


def sections(notes: str) -> list[str]:
    return [part.strip() for part in re.split(r"^(?=## )", notes, flags=re.MULTILINE)[1:]]


def merge(options: list[str]) -> None:
    """Let Copier update; if it cannot, put everything back as it was."""
    try:
        done = copier("update", "--quiet", "--defaults", *options)
        if done.returncode:
            raise Problem(f"The update failed, and nothing was changed.\n{complaint(done)}")
    except BaseException:
        # The tree was clean, ignored files apart.
        git("reset", "--quiet", "--hard")
        git("clean", "--quiet", "--force", "-d")
        raise


def saved(directory: Path, names: set[str]) -> Render:
    """Copy what is here of some files, with the template's ends of lines."""
    for name in names:
        if text := HERE.text(name):
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(text, "utf-8")
    return Render(directory)


def losses(mine: Render, old: Render, new: Render, conflicts: list[str]) -> list[str]:
    """List the files that a three-way merge makes something else of; it leaves its results in `mine`."""
    found = []
    for name in new.names():
        ours = mine.text(name)
        touched = ours and ours not in (old.text(name), HERE.text(name))
        if touched and name not in (ANSWERS, *conflicts):
            base = old.path / name if (old.path / name).exists() else os.devnull
            merged = call("git", "merge-file", "--quiet", mine.path / name, base, new.path / name)
            if merged.returncode or mine.text(name) != HERE.text(name):
                found.append(name)
    return found


def report(conflicts: list[str], gone: list[str], dropped: list[str]) -> None:
    """Refuse to go on with an update that needs somebody's judgement."""
    said = []
    if any(conflicts):
        said += ["Both sides changed the same lines, which are marked, in:", *conflicts]
        said += ["Edit and `git add` them."]
    if gone:
        said += ["The template gave up files that were edited here, and they are deleted:", *gone]
        said += ["`git show HEAD:<file>` has them: move what you still need into a file of yours."]
    if dropped:
        said += [
            "Copier dropped edits that were made here, which git can be set to cause, from:",
            *dropped,
        ]
        said += ["`git show HEAD:<file>` has them: repeat them."]
    if said:
        raise Problem("\n".join([*said, "Then: make lock env, and make check test."]))


def renewed() -> bool:
    """Renew the locks and .env.example, and see whether the service passes its own checks and tests."""
    # ARGS were given for the update, not for these.
    targets = ("lock", "env", "check", "test", "ARGS=")
    return call("make", "--no-print-directory", *targets, capture=False).returncode == 0


def same(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()


def call(
    *command: str | Path, capture: bool = True, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **(environment or {})}
    # Own programs with the user's own arguments, and no shell.
    return subprocess.run(command, capture_output=capture, text=True, check=False, env=environment)  # noqa: S603


def copier(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Call Copier, and let git be set as it needs; the user's other settings, such as credentials, stay."""
    first = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    settings = {"GIT_CONFIG_COUNT": str(first + len(GIT_SETTINGS))}
    for number, (name, value) in enumerate(GIT_SETTINGS.items(), first):
        settings |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return call(*shlex.split(os.environ["COPIER"]), *arguments, environment=settings)


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """Pick the sentence out of a traceback or a page of usage."""
    lines = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()
    return f"Copier says: {lines[0 if done.returncode == 2 else -1]}"


def git(*arguments: str) -> str:
    done = call("git", *arguments)
    if done.returncode:
        raise Problem(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.rstrip("\n")


if __name__ == "__main__":
    sys.exit(main())
