"""A Prometheus server of the suite's own that scrapes the service and answers queries."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from conformance.process import Process, StartError, eventually, free_port
from conformance.wire import Client, WireError

_CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: conformance
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


class Prometheus:
    """One server that scrapes one target every second."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.client = Client(free_port())
        self._process: Process | None = None
        self._directory: Path | None = None

    async def start(self) -> None:
        """Start the server and wait until it answers."""
        program = shutil.which("prometheus")
        if program is None:
            raise StartError("Prometheus is not installed")
        self._directory = Path(tempfile.mkdtemp(prefix="conformance-prometheus-"))
        config = self._directory / "prometheus.yml"
        config.write_text(_CONFIG.format(port=self.target_port))
        argv = [
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={self._directory / 'data'}",
        ]
        address = f"--web.listen-address=127.0.0.1:{self.client.port}"
        self._process = Process([*argv, address], {"PATH": os.environ["PATH"]}, self._directory)
        await self._process.start()
        if not await eventually(self._ready, within=15, interval=0.1):
            raise StartError("Prometheus did not come up", self._process.tail())

    async def _ready(self) -> bool:
        try:
            return (await self.client.get("/-/ready", within=1)).status == 200
        except WireError:
            return False

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the result vector of an instant query."""
        answer = await self.client.get(f"/api/v1/query?query={quote(expression)}")
        data = answer.object().get("data") or {}
        result: list[dict[str, Any]] = data.get("result") or []
        return result

    async def stop(self) -> None:
        """Stop the server and remove its data."""
        try:
            if self._process is not None:
                await self._process.stop()
        finally:
            if self._directory is not None:
                shutil.rmtree(self._directory, ignore_errors=True)
