"""Render a service from the work tree into build/, install it, start it and say what to try.

It runs on the embedded defaults until Ctrl-C, on the default port or, when that is taken, the next.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from pathlib import Path

import copier

ROOT = Path(__file__).resolve().parent.parent
SERVICE = ROOT / "build" / "user-service"
PORTS = range(8000, 8100)
METRICS_OFFSET = 1000
START_SECONDS = 30.0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--once", action="store_true", help="stop when it is ready")
    options = parser.parse_args()

    render()
    print("Installing it", flush=True)
    subprocess.run(["make", "--no-print-directory", "install"], cwd=SERVICE, check=True)
    port = free_port()
    print(f"Starting it on port {port}, metrics on {port + METRICS_OFFSET}", flush=True)
    with (SERVICE / "demo.log").open("wb") as log:
        service = subprocess.Popen(
            [".venv/bin/python", "-m", "app"],
            cwd=SERVICE,
            env={**os.environ, "PORT": str(port), "DRAIN_SECONDS": "0"},
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            # Ctrl-C reaches only this program, which then stops the service itself.
            start_new_session=True,
        )
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            return follow(service, port, options.once)
        except KeyboardInterrupt:
            return 0
        finally:
            stop(service)


def render() -> None:
    """Render the work tree's template with the default answers, keeping an installed environment."""
    print(f"Rendering a service into {SERVICE.relative_to(ROOT)}", flush=True)
    for path in SERVICE.glob("*") if SERVICE.exists() else []:
        if path.name != ".venv":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # uncommitted work is shown, too
        copier.run_copy(
            str(ROOT), SERVICE, defaults=True, overwrite=True, quiet=True, vcs_ref="HEAD"
        )


def free_port() -> int:
    """Return the first port that is free together with its metrics port."""
    for port in PORTS:
        if all(is_free(candidate) for candidate in (port, port + METRICS_OFFSET)):
            return port
    raise SystemExit(f"no free port from {PORTS.start} to {PORTS.stop - 1}")


def is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("0.0.0.0", port))  # noqa: S104 - where the service will listen
        except OSError:
            return False
    return True


def follow(service: subprocess.Popen[bytes], port: int, once: bool) -> int:
    """Wait until the service is ready, say what to try, and stay until it ends."""
    address = f"http://localhost:{port}"
    deadline = time.monotonic() + START_SECONDS
    while not is_ready(f"{address}/health/ready"):
        if service.poll() is not None or time.monotonic() > deadline:
            print((SERVICE / "demo.log").read_text(errors="replace"), file=sys.stderr)
            print("It did not become ready; its log stands above.", file=sys.stderr)
            return 1
        time.sleep(0.1)
    print(
        f"""
It is ready. Try:

  curl -i {address}/items -H 'Content-Type: application/json' -d '{{"name": "first"}}'
  curl -i {address}/items
  curl -i {address}/upstreams/auth-service       (nobody is there: 503, and its breaker opens)

  API      {address}/docs
  health   {address}/health/live and {address}/health/ready
  metrics  http://localhost:{port + METRICS_OFFSET}/metrics
  log      {(SERVICE / "demo.log").relative_to(ROOT)}
""",
        flush=True,
    )
    if once:
        return 0
    print("Ctrl-C stops it.", flush=True)
    return service.wait()


def is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310 - loopback
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def stop(service: subprocess.Popen[bytes]) -> None:
    """End the service as Kubernetes would, and harder when it does not listen."""
    if service.poll() is not None:
        return
    print("Stopping it", flush=True)
    service.terminate()
    try:
        service.wait(timeout=30)
    except subprocess.TimeoutExpired:
        service.kill()
        service.wait()


if __name__ == "__main__":
    sys.exit(main())
