"""The real tools that judge what a render deploys with, and what happens when one is missing."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Never

import pytest


def unavailable(reason: str) -> Never:
    """Skip on somebody's own machine and say why; in CI nothing is skipped."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; CI never skips this")
    pytest.skip(reason)


def tool(name: str) -> str:
    """Find an executable beside this Python or on the PATH."""
    beside = Path(sys.executable).parent
    found = shutil.which(name, path=f"{beside}{os.pathsep}{os.environ['PATH']}")
    return found or unavailable(f"{name} is not installed")


def call(
    *command: str | Path,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float = 600,
) -> subprocess.CompletedProcess[str]:
    """Run a command whose exit code the caller judges."""
    return subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def output(
    *command: str | Path,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float = 600,
) -> str:
    """Run a command that has to succeed and return its standard output."""
    done = call(*command, directory=directory, environment=environment, timeout=timeout)
    if done.returncode:
        shown = " ".join(map(str, command))
        raise AssertionError(f"{shown} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout
