"""A TCP proxy that turns a good connection into a bad one."""

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Literal

Mode = Literal["pass", "delay", "hang", "reset"]


class Proxy:
    """Forwards to a port of the loopback interface; `mode` may change at any time, for open connections too.

    `delay` adds `seconds` to every piece of data; `hang` accepts and forwards nothing; `reset` breaks every connection.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self.mode: Mode = "pass"
        self.seconds = 0.0
        self.accepted = 0
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def open(self) -> int:
        """Return how many connections are open through the proxy now."""
        return len(self._tasks)

    async def start(self) -> None:
        """Start listening on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def set(self, mode: Mode, seconds: float = 0.0) -> None:
        """Change what happens to all connections from now on."""
        self.mode, self.seconds = mode, seconds
        self._changed.set()
        self._changed = asyncio.Event()

    async def stop(self) -> None:
        """Close the listener and every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: asyncio.StreamWriter | None = None
        try:
            await self._gate(writer)
            source, upstream = await asyncio.open_connection("127.0.0.1", self.target_port)
            pumps = [
                asyncio.create_task(self._pump(reader, upstream, writer)),
                asyncio.create_task(self._pump(source, writer, writer)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            pass
        finally:
            for end in (writer, upstream):
                if end is not None:
                    end.transport.abort()

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while True:
                read = asyncio.ensure_future(source.read(65536))
                changed = asyncio.ensure_future(self._changed.wait())
                try:
                    await asyncio.wait((read, changed), return_when=asyncio.FIRST_COMPLETED)
                    await self._gate(client)
                    data = await read
                finally:
                    read.cancel()
                    changed.cancel()
                if not data:
                    return
                await self._gate(client)
                if self.mode == "delay":
                    await asyncio.sleep(self.seconds)
                sink.write(data)
                await sink.drain()

    async def _gate(self, client: asyncio.StreamWriter) -> None:
        while self.mode == "hang":
            await self._changed.wait()
        if self.mode == "reset":
            connection: socket.socket = client.get_extra_info("socket")
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise ConnectionResetError
