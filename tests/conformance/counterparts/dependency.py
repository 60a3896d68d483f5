"""Another service, scriptable: it answers, delays, hangs, resets, or talks nonsense, and remembers who called."""

import asyncio
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from conformance.process import eventually

Mode = Literal["answer", "hang", "reset", "garbage", "huge", "stall"]


@dataclass(frozen=True, slots=True)
class Call:
    """One request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    at: float


class Dependency:
    """An HTTP server that does what its fields say at the moment a request arrives.

    `answer` sends `status` and `body` after `delay`; `hang` never answers; `reset` breaks the connection;
    `garbage` is not HTTP; `huge` streams until the caller gives up; `stall` sends a head and half a body,
    then nothing. `pattern` (a list of statuses) is used up before `status`.
    """

    def __init__(self) -> None:
        self.port = 0
        self.mode: Mode = "answer"
        self.status = 200
        self.delay = 0.0
        self.body = b'{"status":"alive"}'
        self.pattern: list[int] = []
        self.calls: list[Call] = []
        self.connections = 0
        self.sent = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start listening: on a free port at first, on the same one again after `stop`."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def reset(self) -> None:
        """Go back to prompt, healthy answers and forget all calls."""
        self.mode, self.status, self.delay, self.pattern = "answer", 200, 0.0, []
        self.body = b'{"status":"alive"}'
        self.calls.clear()
        self.connections = self.sent = 0

    async def received(self, count: int = 1, within: float = 2.0) -> bool:
        """Wait until that many calls have arrived since the last reset; return whether they have."""
        return bool(await eventually(lambda: len(self.calls) >= count, within))

    async def stop(self) -> None:
        """Close the listener and every connection: callers are refused from now on."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                call = _parse(head)
                await reader.readexactly(int(call.headers.get("content-length", "0")))
                self.calls.append(call)
                if not await self._respond(writer):
                    return
        except (OSError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            writer.transport.abort()

    async def _respond(self, writer: asyncio.StreamWriter) -> bool:
        mode, status = self.mode, self.pattern.pop(0) if self.pattern else self.status
        if mode == "hang":
            await asyncio.Event().wait()
        if self.delay:
            await asyncio.sleep(self.delay)
        if mode == "reset":
            connection: socket.socket = writer.get_extra_info("socket")
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if mode == "garbage":
            writer.write(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
            await writer.drain()
            return False
        length = {"huge": 1 << 40, "stall": 2 * len(self.body)}.get(mode, len(self.body))
        head = f"HTTP/1.1 {status} Scripted\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        writer.write(head.encode() + (b"" if mode == "huge" else self.body))
        await writer.drain()
        if mode == "stall":
            await asyncio.Event().wait()
        while mode == "huge":
            writer.write(b"x" * 65536)
            await writer.drain()
            self.sent += 65536
        return True


def _parse(head: bytes) -> Call:
    first, *rest = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    pairs = (line.split(":", 1) for line in rest if ":" in line)
    return Call(
        method, path, {key.strip().lower(): value.strip() for key, value in pairs}, time.monotonic()
    )
