"""Making the default render: copy, install into an environment of its own, describe."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from conformance.criteria import REPOSITORY
from conformance.description import Description, from_render
from conformance.process import StartError, run

ANSWERS: dict[str, str] = {}
"""Answers that differ from the defaults: none, the defaults have every feature."""


async def render_default(directory: Path) -> Description:
    """Render the template with its default answers, install it, and return its description.

    Raises:
        StartError: rendering or installing failed; `output` holds the last lines.
    """
    target = directory / "service"
    data = [f"--data={key}={value}" for key, value in ANSWERS.items()]
    copy = [
        sys.executable,
        "-m",
        "copier",
        "copy",
        "--defaults",
        "--quiet",
        "--vcs-ref=HEAD",
        *data,
    ]
    await _step("rendering", [*copy, str(REPOSITORY), str(target)], directory)
    await install(target)
    return from_render(target)


async def install(target: Path) -> None:
    """Install a render into `.venv` inside it, by its lock files and then its own two packages."""
    uv = shutil.which(
        "uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    if uv is None:
        raise StartError("`uv` is needed to install a render: pip install uv")
    python = str(target / ".venv" / "bin" / "python")
    await _step(
        "making an environment",
        [uv, "venv", "--quiet", "--python", sys.executable, ".venv"],
        target,
    )
    pip = [uv, "pip", "install", "--quiet", "--python", python]
    locks = [
        part for name in ("requirements.lock", "requirements-dev.lock") for part in ("-r", name)
    ]
    await _step("installing dependencies", [*pip, "--require-hashes", *locks], target)
    packages = ["-e", "./chassis", "-e", "."]
    await _step(
        "installing the service", [*pip, "--no-deps", "--no-build-isolation", *packages], target
    )


async def _step(what: str, argv: list[str], cwd: Path) -> None:
    done = await run(argv, dict(os.environ), cwd, within=300)
    if done.returncode != 0:
        raise StartError(f"{what} failed with exit code {done.returncode}", done.tail(30))


def committed() -> str:
    """Return the commit that a render is made from."""
    argv = ["git", "-C", str(REPOSITORY), "rev-parse", "--short", "HEAD"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
