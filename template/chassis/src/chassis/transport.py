"""The head of an answer leaves in one packet with what follows it at once.

uvicorn writes a head and a body one after the other, and uvloop sends each as it comes: two system calls, two packets
and two times that the client wakes up. ASGI allows a server to hold a head back until the first part of the body.
"""

import asyncio


class JoiningTransport:
    """Holds the first write of an iteration of the event loop back until the second, or until its end.

    A head that nothing follows, as in a stream that waits or an answer without a body, leaves with the iteration. The
    second write and those after it leave at once, so that the transport goes on to say when it is full.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: bytes | None = None
        self._written = False
        # Asked after every answer; the rest is looked up when it is needed.
        self.is_closing = transport.is_closing

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, alone or with what was held back."""
        if not self._written:
            self._written = True
            self._held = data
            self._loop.call_soon(self._end_iteration)
        elif self._held is None:
            self._transport.write(data)
        else:
            held, self._held = self._held, None
            self._transport.writelines((held, data))

    def close(self) -> None:
        """Write what was held back, and close."""
        self._release()
        self._transport.close()

    def _end_iteration(self) -> None:
        self._written = False
        self._release()

    def _release(self) -> None:
        # Closed by the client meanwhile, it refuses to write.
        if self._held is not None and not self.is_closing():
            self._transport.write(self._held)
        self._held = None
