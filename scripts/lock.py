"""Resolve what a rendered service installs, for every combination of features.

Each lock file is one template, in which a package stands under a condition only where some answers
do not need it: a render with a feature off keeps nothing of it, and equals what `make lock` writes.

    python scripts/lock.py             keep the pinned versions where they still fit
    python scripts/lock.py --upgrade   move to the newest versions
    python scripts/lock.py --check     exit 1 when a lock template is not what its inputs resolve to
"""

import argparse
import itertools
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import copier

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "template"
PACKAGES = ROOT / "hooks" / "packages.jinja"

# Each feature with its Jinja condition and the answers that turn it on and off.
FEATURES: dict[str, tuple[str, object, object]] = {
    "database": ("database == 'postgresql'", "postgresql", "none"),
    "cache": ("cache == 'redis'", "redis", "none"),
    "dependencies": ("dependencies", ["auth-service:8080"], []),
}
# Each lock file with the dependency groups that it adds to the project's own dependencies.
LOCKS = {"requirements.lock": ["build"], "requirements-dev.lock": ["build", "dev"]}

Combination = frozenset[str]
EVERYTHING: Combination = frozenset(FEATURES)
COMBINATIONS = [
    frozenset(features)
    for size in range(len(FEATURES), -1, -1)
    for features in itertools.combinations(FEATURES, size)
]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--upgrade", action="store_true", help="move to the newest versions")
    mode.add_argument("--check", action="store_true", help="write nothing, exit 1 on a difference")
    options = parser.parse_args()

    written = {TEMPLATE / f"{name}.jinja": text for name, text in lock_templates(options.upgrade)}
    names = sorted({name for text in written.values() for name in pins(text)})
    written[PACKAGES] = packages_template(names)

    stale = [
        path for path, text in written.items() if not path.exists() or path.read_text() != text
    ]
    for path in stale:
        if options.check:
            print(f"stale: {path.relative_to(ROOT)}; run: make lock", file=sys.stderr)
        else:
            path.write_text(written[path])
            print(f"wrote {path.relative_to(ROOT)}")
    return 1 if options.check and stale else 0


def lock_templates(upgrade: bool = False) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each lock template, freshly resolved."""
    with tempfile.TemporaryDirectory() as scratch:
        projects = {
            features: render_projects(features, Path(scratch, "-".join(sorted(features)) or "bare"))
            for features in COMBINATIONS
        }
        for name, groups in LOCKS.items():
            # Everything is resolved first and pins the rest: the same version, whatever the answers.
            known = TEMPLATE / f"{name}.jinja"
            target = projects[EVERYTHING] / name
            if known.exists() and not upgrade:
                target.write_text(without_conditions(known.read_text()))
            if name != "requirements.lock":
                pinned = projects[EVERYTHING] / "requirements.lock"
                resolve(projects[EVERYTHING], name, groups, pinned)
            else:
                resolve(projects[EVERYTHING], name, groups)
            resolved = {}
            for features, project in projects.items():
                print(f"resolving {name} for {'+'.join(sorted(features)) or 'bare'}", flush=True)
                if features != EVERYTHING:
                    resolve(project, name, groups, target)
                resolved[features] = blocks((project / name).read_text())
            yield name, lock_template(resolved)


def render_projects(features: Combination, destination: Path) -> Path:
    """Render only the files that say what the service needs."""
    answers = {name: on if name in features else off for name, (_, on, off) in FEATURES.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # uncommitted work is meant to be locked, too
        copier.run_copy(
            str(ROOT),
            destination,
            data=answers,
            defaults=True,
            quiet=True,
            vcs_ref="HEAD",
            exclude=["*", "!/pyproject.toml", "!/chassis", "!/chassis/pyproject.toml"],
        )
    return destination


def resolve(
    project: Path, name: str, groups: Iterable[str], constraints: Path | None = None
) -> None:
    """Let uv write the lock file `name` of a rendered project, as its own `make lock` does."""
    command = [
        str(Path(sys.executable).with_name("uv")),
        "pip",
        "compile",
        "--quiet",
        "--universal",
        "--python-version",
        "3.11",
    ]
    command += ["--generate-hashes", "--no-header", "--no-annotate", "--no-emit-package", "chassis"]
    command += [word for group in groups for word in ("--group", group)]
    command += ["--constraints", str(constraints)] if constraints else []
    subprocess.run(
        [*command, "--output-file", name, "pyproject.toml"],
        cwd=project,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def blocks(lock: str) -> dict[str, str]:
    """Split a lock file into one block per line of pins: the pin with its hashes."""
    found = re.findall(r"^\S.*(?:\n +.*)*\n", lock, flags=re.MULTILINE)
    return {block.splitlines()[0]: block for block in found}


def pins(lock: str) -> list[str]:
    """List the names of the packages that a lock file or lock template pins."""
    return re.findall(r"^([a-z0-9._-]+)==", lock, flags=re.MULTILINE)


def without_conditions(template: str) -> str:
    return re.sub(r"^\{%.*\n", "", template, flags=re.MULTILINE)


def lock_template(resolved: dict[Combination, dict[str, str]]) -> str:
    """Join the locks of all combinations, each block under the condition that its answers make."""
    lines = sorted(
        {line for lock in resolved.values() for line in lock},
        key=lambda line: (line.partition("==")[0], line),
    )
    text = ""
    for needed, group in itertools.groupby(lines, key=lambda line: condition(line, resolved)):
        body = "".join(
            next(lock[line] for lock in resolved.values() if line in lock) for line in group
        )
        text += f"{{% if {needed} %}}\n{body}{{% endif %}}\n" if needed else body
    return text


def condition(line: str, resolved: dict[Combination, dict[str, str]]) -> str:
    """Say with which answers a line is needed: the shortest `or` of features that fits all."""
    wanted = {features for features, lock in resolved.items() if line in lock}
    if len(wanted) == len(resolved):
        return ""
    for size in range(1, len(FEATURES) + 1):
        for names in itertools.combinations(FEATURES, size):
            if wanted == {features for features in resolved if features & set(names)}:
                return " or ".join(FEATURES[name][0] for name in names)
    raise ValueError(f"no simple condition says when this is needed: {line}")


def packages_template(names: list[str]) -> str:
    rows = "\n".join(f"  '{name}'," for name in names)
    return (
        "{#- Written by scripts/lock.py: what a service may install, and so cannot be called. -#}\n"
        f"{{%- set packages = [\n{rows}\n] -%}}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
