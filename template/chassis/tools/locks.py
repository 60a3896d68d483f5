"""Say whether the lock files still fit what pyproject.toml and the chassis ask for.

Works without network: what is needed follows from the metadata of what is installed, so `make install` comes first.
Exit 1 and one line per difference when a lock file is stale; `make lock` renews both.
"""

import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKS = {"requirements.lock": ["build"], "requirements-dev.lock": ["build", "dev"]}
OWN = {"chassis"}


def main() -> int:
    project = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))
    locks = {name: pins(Path(name)) for name in LOCKS}
    problems = [
        f"{name}: {problem}"
        for name, groups in LOCKS.items()
        for problem in differences(locks[name], roots(project, groups))
    ]
    runtime, everything = locks.values()
    problems += [
        f"requirements-dev.lock: {name} is {everything.get(name)}, but {version} in requirements.lock"
        for name, version in runtime.items()
        if everything.get(name) != version
    ]
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        print("The lock files are stale; run: make lock", file=sys.stderr)
    return 1 if problems else 0


def pins(lock: Path) -> dict[str, str]:
    """Read which version of each package a lock file pins on this platform."""
    lines = [line.rstrip(" \\") for line in lock.read_text("utf-8").splitlines()]
    wanted = [Requirement(line) for line in lines if line and line[0] not in " #"]
    return {
        canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
        for pin in wanted
        if pin.marker is None or pin.marker.evaluate()
    }


def roots(project: Mapping[str, Any], groups: Iterable[str]) -> list[str]:
    """List what the project itself asks for, together with the given dependency groups."""
    found = list(project["project"].get("dependencies", []))
    for group in groups:
        for entry in project.get("dependency-groups", {}).get(group, []):
            found += [entry] if isinstance(entry, str) else roots(project, entry.values())
    return found


def differences(locked: Mapping[str, str], asked: Iterable[str]) -> Iterator[str]:
    """Yield what the lock lacks, holds in a version that does not fit, or holds without need."""
    needed = set()
    for requirement in closure(asked):
        name = canonicalize_name(requirement.name)
        needed.add(name)
        if name in OWN:
            continue
        if name not in locked:
            yield f"{name} is needed, but not there"
        elif not requirement.specifier.contains(locked[name], prereleases=True):
            yield f"{name} is {locked[name]}, but {requirement} is needed"
    for unneeded in sorted(locked.keys() - needed):
        yield f"{unneeded} is there, but no longer needed"


def closure(asked: Iterable[str]) -> Iterator[Requirement]:
    """Yield the requirements that apply here, and theirs, each package with each extra once."""
    waiting = [(Requirement(text), "") for text in asked]
    seen = set()
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        yield requirement
        for wanted in ["", *requirement.extras]:
            key = (canonicalize_name(requirement.name), wanted)
            if key not in seen:
                seen.add(key)
                waiting += [(Requirement(text), wanted) for text in requires(requirement.name)]


def requires(name: str) -> list[str]:
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []


if __name__ == "__main__":
    sys.exit(main())
