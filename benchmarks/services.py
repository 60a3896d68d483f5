"""What is measured: each application with the Python that has its packages, and its environment."""

import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.collector import Collector
from tests.harness import Renderer, run, snapshot

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "bench"
RENDER = BUILD / "service"
PEERS = BUILD / "peers"


@dataclass(frozen=True, slots=True)
class Service:
    """One application in one configuration.

    Attributes:
        name: in tables and plots.
        app: module in `apps/`.
        home: directory of the virtual environment, `.venv` of the render or the peers'.
        sampled: ratio of requests that are traced; None for an application that traces nothing.
        logs: whether every request writes a line.
    """

    name: str
    app: str
    home: Path
    sampled: float | None = None
    logs: bool = False

    @property
    def python(self) -> Path:
        return self.home / "bin" / "python"

    def environment(self, collector: Collector) -> dict[str, str]:
        """Where its spans go, how many there are, and nothing of the user's own settings."""
        inherited = {
            name: os.environ[name] for name in ("HOME", "LANG", "PATH") if name in os.environ
        }
        variables = {**inherited, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}
        if self.sampled is not None:
            variables |= {
                "GRPC_VERBOSITY": "NONE",
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
                "OTEL_EXPORTER_OTLP_INSECURE": "true",
                "OTEL_SERVICE_NAME": "user-service",
                "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
                "OTEL_TRACES_SAMPLER_ARG": str(self.sampled),
            }
        return variables


BARE = Service("bare FastAPI", "bare", RENDER / ".venv")
COPY = Service("bare FastAPI, again", "bare", RENDER / ".venv")
OURS = {
    ratio: Service(f"this template, {ratio:.0%} sampled", "chassis", RENDER / ".venv", ratio, True)
    for ratio in (1.0, 0.1, 0.0)
}
TUNED = Service("usual peers, tuned, 100% sampled", "tuned", PEERS, 1.0, True)
OTHERS = [
    TUNED,
    Service("usual peers, 100% sampled", "peers", PEERS, 1.0, True),
    Service("seed's sketches, 100% sampled", "seed", PEERS, 1.0, True),
]
ALL = [BARE, *OURS.values(), *OTHERS]


def prepare() -> None:
    """Render and install a fresh service, and install the peers beside it."""
    if BUILD.exists():
        shutil.rmtree(BUILD)
    BUILD.mkdir(parents=True)
    Renderer(snapshot(BUILD / "template"))(RENDER)
    run(["make", "install"], RENDER)
    uv, python = str(Path(sys.executable).with_name("uv")), str(PEERS / "bin" / "python")
    run([uv, "venv", "--quiet", "--python", sys.executable, str(PEERS)], ROOT)
    lock = str(ROOT / "benchmarks" / "requirements.lock")
    run([uv, "pip", "sync", "--quiet", "--python", python, "--require-hashes", lock], ROOT)


def work_directory(service: Service) -> Path:
    """Where it runs: a render at home, everything else with a database of its own."""
    return service.home.parent if service.app == "chassis" else scratch_directory(service.app)


def scratch_directory(name: str) -> Path:
    """An empty directory that stays until the next `prepare`."""
    BUILD.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=BUILD))
