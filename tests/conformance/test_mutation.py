"""Unplug one part of the chassis at a time: the service's own tests and the criterion's checks both go red."""

import ast
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from conformance.conftest import Judge
from conformance.criteria import REPOSITORY
from conformance.description import Description, from_render
from conformance.registry import Verdict, all_checks

Installed = Callable[[Mapping[str, object]], Any]

INSTALL = "chassis/src/chassis/__init__.py"
CONTAINER = "src/app/container.py"
CLIENT = "chassis/src/chassis/client.py"
CLI = "chassis/src/chassis/cli.py"
SERVER = "chassis/src/chassis/server.py"

# Every registration in `chassis.install` by how it begins, with the checks that must miss it.
INSTALLED = {
    "errors.install": ["standard_body", "reveals_nothing"],
    "limits.install": ["too_large", "over_time"],
    "cors.install": ["rules"],
    "health.install": ["live", "ready"],
    "observer.install": ["completed_unmatched", "trace_header_everywhere", "unmatched"],
    "tracer_provider.install_global": ["manual_span"],
    "if settings.trusted_proxies": ["completed_levels"],
    "_wrap_lifespan": ["flushed"],
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change to a rendered file, the tests that must notice it, and the checks that must, if any can."""

    name: str
    file: str
    old: str
    new: str
    tests: str
    checks: tuple[str, ...]


ELSEWHERE = [
    Mutant(
        "database check",
        CONTAINER,
        'chassis.health.add_check("database", migration.check)',
        "pass",
        "tests/integration/test_application.py",
        ("ready",),
    ),
    Mutant(
        "cache check",
        CONTAINER,
        'chassis.health.add_check("cache", cache.check)',
        "pass",
        "tests/integration/test_application.py",
        ("ready",),
    ),
    *(
        Mutant(
            f"{name} is not closed",
            CONTAINER,
            f'resources.push("{name}", {name}.aclose)',
            "pass",
            "tests/integration/test_application.py",
            (),
        )
        for name in ("database", "migration", "cache", "dependencies")
    ),
    Mutant(
        "breaker",
        CLIENT,
        "permit.failure()",
        "permit.success()",
        "chassis/tests/test_client.py",
        ("threshold",),
    ),
    Mutant(
        "logging",
        CLI,
        "    _configure_logging(",
        "    id(",
        "chassis/tests/test_cli.py",
        ("only_json",),
    ),
]


def registrations() -> dict[str, str]:
    """Return the source of each registering statement of `chassis.install`, by how it begins.

    Those of `chassis.prepare`, which it calls, are among them.
    """
    source = (REPOSITORY / "template" / INSTALL).read_text(encoding="utf-8")
    statements = [
        statement
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and node.name in ("prepare", "install")
        for statement in node.body[1:]
    ]
    lines = source.splitlines(keepends=True)
    found = {}
    for node in statements:
        if isinstance(node, ast.Expr | ast.If) and node.end_lineno is not None:
            text = "".join(lines[node.lineno - 1 : node.end_lineno])
            found[text.strip().split("(")[0].split(":")[0]] = text
    return found


MUTANTS = [
    *(
        Mutant(start, INSTALL, text, "", "tests/unit", tuple(INSTALLED.get(start, ())))
        for start, text in registrations().items()
    ),
    *ELSEWHERE,
]


@pytest.fixture(scope="module")
def render(installed: Installed) -> Path:
    """The default render, installed."""
    path: Path = installed({}).path
    return path


@pytest.fixture
def copy(render: Path, tmp_path: Path) -> Path:
    """A copy of the render to spoil; it runs on the environment of the original."""
    target = tmp_path / "service"
    shutil.copytree(render, target, ignore=shutil.ignore_patterns(".venv", ".git", "*.db"))
    tmp_path.chmod(0o755)
    return target


def own_sources(copy: Path) -> dict[str, str]:
    """Return the variables that put the copy's packages before the installed ones."""
    return {"PYTHONPATH": f"{copy}/chassis/src:{copy}/src"}


def describe(render: Path, copy: Path) -> Description:
    original = from_render(render)
    command = (str(render / ".venv" / "bin" / "python"), *original.command[1:])
    return replace(original, command=command, directory=copy, environment=own_sources(copy))


def own_tests(render: Path, copy: Path, selection: str) -> "subprocess.CompletedProcess[str]":
    python = str(render / ".venv" / "bin" / "python")
    options = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:randomly"]
    return subprocess.run(
        [python, "-m", "pytest", *options, selection],
        cwd=copy,
        env={**os.environ, **own_sources(copy)},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_every_registration_has_checks_that_miss_it() -> None:
    assert set(registrations()) == set(INSTALLED)


def test_untouched_both_are_green(render: Path, copy: Path, judge: Judge) -> None:
    """What goes red below does so because of the mutation, not because of the copy."""
    for selection in sorted({mutant.tests for mutant in MUTANTS}):
        done = own_tests(render, copy, selection)
        assert done.returncode == 0, done.stdout[-3000:]
    shared = {check.name for check in all_checks() if not check.own}
    wanted = {name for mutant in MUTANTS for name in mutant.checks} & shared
    report = judge(describe(render, copy), sorted(wanted))
    assert report.holds, report.verdicts()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_unplugging_turns_tests_and_checks_red(
    mutant: Mutant, render: Path, copy: Path, judge: Judge
) -> None:
    path = copy / mutant.file
    source = path.read_text(encoding="utf-8")
    assert mutant.old in source
    path.write_text(source.replace(mutant.old, mutant.new), encoding="utf-8")
    done = own_tests(render, copy, mutant.tests)
    assert done.returncode == 1, f"the service's own tests survive:\n{done.stdout[-2000:]}"
    if not mutant.checks:
        return
    report = judge(describe(render, copy), mutant.checks)
    results = [result for found in report.results.values() for result in found]
    survived = [result.check.name for result in results if result.verdict is Verdict.PASS]
    assert not survived, "these checks survive"
