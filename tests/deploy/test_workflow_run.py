"""The steps of the rendered workflow, executed by act as a runner would."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy.tools import output, tool
from tests.harness import DEFAULT, Answers, commit

# act cannot fetch actions here. A checkout is what act starts from, and Python is there.
ACTION = """\
name: stand-in
description: Does nothing.
inputs:
  persist-credentials: {default: ""}
  python-version: {default: ""}
runs:
  using: composite
  steps:
    - run: "true"
      shell: sh
"""
# The image that has promtool cannot be pulled everywhere; the program is the same.
DOCKER = """\
#!/bin/sh
set -eu
for word; do
    case $word in *:/rules:ro) cd "${word%%:/rules:ro}" ;; esac
done
while [ "$1" != test ]; do shift; done
exec promtool "$@"
"""


@pytest.mark.slow
@pytest.mark.parametrize("job", ["check", "deploy-files"])
def test_job_succeeds(job: str, rendered: Callable[[Answers], Path], tmp_path: Path) -> None:
    """In a fresh repository, from its first commit, without anything that this one installed."""
    service = tmp_path / "service"
    shutil.copytree(rendered(DEFAULT), service)
    commit(service)
    action = tmp_path / "action/action.yml"
    action.parent.mkdir()
    action.write_text(ACTION)
    docker = tmp_path / "bin/docker"
    docker.parent.mkdir()
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    workflow = ".github/workflows/ci.yml"
    used = set(re.findall(r"uses: (\S+)", (service / workflow).read_text()))
    said = output(
        *(tool("act"), "push", f"--workflows={workflow}", f"--job={job}"),
        *("--platform=ubuntu-24.04=-self-hosted", "--action-offline-mode"),
        f"--action-cache-path={tmp_path / 'cache'}",
        *(f"--local-repository={name}={action.parent}" for name in sorted(used)),
        directory=service,
        environment={"PATH": f"{docker.parent}{os.pathsep}{os.environ['PATH']}"},
    )
    assert "Job succeeded" in said
