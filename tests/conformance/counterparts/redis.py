"""A Redis server of the suite's own, which can be paused, killed and restarted."""

import os
import secrets
import shutil
import signal
import tempfile

from conformance.process import Process, StartError, eventually, free_port
from conformance.wire import Connection, WireError


class Redis:
    """One server that keeps nothing on disk."""

    def __init__(self, password: str | None = None) -> None:
        self.password = password or secrets.token_hex(8)
        self.port = free_port()
        self._process: Process | None = None

    async def start(self) -> None:
        """Start the server and wait until it answers; also after `kill`."""
        program = shutil.which("redis-server")
        if program is None:
            raise StartError("Redis is not installed: redis-server was not found")
        options = [
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]
        argv = [program, *options, "--requirepass", self.password, "--dir", tempfile.gettempdir()]
        self._process = Process(argv, {"PATH": os.environ["PATH"]}, "/")
        await self._process.start()
        if not await eventually(self._answers, within=10):
            raise StartError("Redis did not come up", self._process.tail())

    async def _answers(self) -> bool:
        try:
            async with Connection("127.0.0.1", self.port, 1.0) as connection:
                await connection.send(b"PING\r\n")
            return True
        except WireError:
            return False

    def pause(self) -> None:
        """Stop the server where it is: connections stay, answers do not come."""
        if self._process:
            self._process.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        if self._process:
            self._process.send(signal.SIGCONT)

    async def kill(self) -> None:
        """Kill the server and wait until it is gone."""
        if self._process:
            await self._process.stop()

    async def stop(self) -> None:
        """Stop the server."""
        await self.kill()
