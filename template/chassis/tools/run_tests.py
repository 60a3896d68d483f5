"""Run the service's own tests and, at the same time, the chassis's; then say what both covered.

The service's run one after the other, since they may share a server. The chassis's share nothing and take the other
cores; what they print follows when all are done. Exit 1 when a test fails or the coverage is too low.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAMS = Path(sys.executable).parent
CHASSIS = "chassis/tests"
CHASSIS_OPTIONS = (
    "--quiet",
    "--numprocesses=auto",
    "--maxprocesses=4",
    "--cov-config=chassis/pyproject.toml",
    # The folder chassis/ would be taken for the package: the first services do not say this themselves.
    "--override-ini=consider_namespace_packages=true",
)
NO_TESTS = 5
"""pytest's exit code for a service that has none of its own."""


def main() -> int:
    with tempfile.TemporaryFile() as output:
        with pytest("chassis", CHASSIS, *CHASSIS_OPTIONS, output=output.fileno()) as chassis:
            # Found by `testpaths`, which a service may add to.
            service = pytest("service", f"--ignore-glob={CHASSIS}/*").wait()
            print(f"{CHASSIS}:", flush=True)
        output.seek(0)
        sys.stdout.buffer.write(output.read())
        sys.stdout.flush()
    failed = service not in (0, NO_TESTS) or chassis.returncode != 0
    coverage("combine", "--quiet", data_file("service"), data_file("chassis"))
    return 1 if coverage("report") or failed else 0


def pytest(name: str, *arguments: str, output: int | None = None) -> "subprocess.Popen[bytes]":
    """Start a run that keeps its coverage for later."""
    quietly = ("--cov", "--cov-report=", "--cov-fail-under=0")
    return subprocess.Popen(  # noqa: S603
        [PROGRAMS / "pytest", *quietly, *arguments],
        env={**os.environ, "COVERAGE_FILE": data_file(name)},
        stdout=output,
        stderr=output,
    )


def coverage(*arguments: str) -> int:
    return subprocess.call([PROGRAMS / "coverage", *arguments])  # noqa: S603


def data_file(name: str) -> str:
    return f".coverage.{name}"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
