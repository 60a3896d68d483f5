"""The lock files fit the answers, are complete and name no place to download from."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness import BARE, COMBINATIONS, DEFAULT, ROOT, Answers, Renderer, label

Rendered = Callable[[Answers], Path]
LOCKS = ("requirements.lock", "requirements-dev.lock")
LIBRARIES = {
    "database": {"sqlalchemy", "asyncpg", "aiosqlite", "alembic", "greenlet"},
    "cache": {"redis", "opentelemetry-instrumentation-redis"},
    "dependencies": {"aiohttp"},
}


def pins(lock: Path) -> dict[str, str]:
    """Read a lock file into name and the rest of the line."""
    return dict(re.findall(r"^([a-z0-9._-]+)==(.*) \\$", lock.read_text(), flags=re.M))


@pytest.mark.parametrize("answers", COMBINATIONS, ids=label)
def test_lock_fits_the_answers(answers: Answers, rendered: Rendered) -> None:
    """A library is locked exactly when its feature is on, and development adds to the rest."""
    runtime, development = (pins(rendered(answers) / name) for name in LOCKS)
    for feature, libraries in LIBRARIES.items():
        assert (answers[feature] not in ("none", [])) == (libraries <= runtime.keys())
        assert not libraries & runtime.keys() or libraries <= runtime.keys()
    assert runtime.items() <= development.items()
    assert {"pytest", "mypy", "ruff", "uv"} <= development.keys() - runtime.keys()
    assert "circuitbreaker" not in development


@pytest.mark.parametrize("answers", [DEFAULT, BARE], ids=["default", "bare"])
@pytest.mark.parametrize("name", LOCKS)
def test_lock_is_hashes_only(name: str, answers: Answers, rendered: Rendered) -> None:
    """Every line is a pin or a hash: no index, no address, no directory."""
    lock = (rendered(answers) / name).read_text()
    for line in lock.splitlines():
        assert re.fullmatch(
            r"[a-z0-9._-]+==[0-9a-z.]+( ; [a-zA-Z_ =<>!'0-9.]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?",
            line,
        ), line
    assert len(re.findall(r"^\S", lock, flags=re.M)) == len(
        set(re.findall(r"^\S+", lock, flags=re.M))
    )
    assert "//" not in lock


def test_own_tools_are_locked_with_hashes() -> None:
    """What this repository installs for its own work is locked the same way."""
    lock = (ROOT / "requirements-dev.lock").read_text()
    assert "//" not in lock and "--hash=sha256:" in lock
    assert {"copier", "cookiecutter", "pytest"} <= pins(ROOT / "requirements-dev.lock").keys()


def test_locks_are_what_their_inputs_resolve_to() -> None:
    """Each combination's lock equals its resolution; `make lock` renews it."""
    done = subprocess.run(
        [sys.executable, "scripts/lock.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_service_can_be_called_like_a_package(renderer: Renderer, tmp_path: Path) -> None:
    """A service of that name would be installed over the library."""
    names = set().union(*(pins(ROOT / f"template/{name}.jinja") for name in LOCKS))
    listed = (ROOT / "hooks/packages.jinja").read_text()
    assert names == set(re.findall(r"'([a-z0-9._-]+)'", listed))
