"""A load generator that loses nothing silently."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from conformance.wire import Client, Connection, WireError


@dataclass(slots=True)
class Outcome:
    """What a load came to: answers by status, requests that got none, and how long each took."""

    statuses: Counter[int] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    elapsed: float = 0.0

    @property
    def total(self) -> int:
        """Return how many requests were sent."""
        return sum(self.statuses.values()) + len(self.lost)

    @property
    def rate(self) -> float:
        """Return the requests per second."""
        return self.total / self.elapsed if self.elapsed else 0.0

    def bad(self) -> list[str]:
        """Return each kind of outcome that is not a 2xx, with its count."""
        found = Counter(self.lost)
        found.update(
            {
                f"status {code}": count
                for code, count in self.statuses.items()
                if not 200 <= code < 300
            }
        )
        return [f"{count} x {what}" for what, count in found.most_common()]


class Load:
    """Keep-alive clients that send GETs at a steady total rate until told to stop.

    A client follows `Connection: close` and never repeats a request: one without an answer is counted as lost.
    """

    def __init__(
        self, client: Client, target: Callable[[int], str], rate: float = 300, workers: int = 12
    ) -> None:
        self._client, self._target = client, target
        self._interval, self._workers = workers / rate, workers
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._started = 0.0
        self._sent = 0
        self.outcome = Outcome()

    def start(self) -> None:
        """Begin sending."""
        self._started = time.monotonic()
        self._tasks = [asyncio.create_task(self._work(number)) for number in range(self._workers)]

    async def stop(self) -> Outcome:
        """Send no more, wait for the answers that are due, and return the outcome."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)
        self.outcome.elapsed = time.monotonic() - self._started
        return self.outcome

    async def run(self, seconds: float) -> Outcome:
        """Send for that long."""
        self.start()
        await asyncio.sleep(seconds)
        return await self.stop()

    async def _work(self, number: int) -> None:
        connection: Connection | None = None
        due = time.monotonic() + self._interval * number / self._workers
        while not self._stopping.is_set():
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due = max(due + self._interval, time.monotonic() - 1.0)
            if self._stopping.is_set():
                break
            self._sent += 1
            connection = await self._send(connection, self._target(self._sent))
        if connection is not None:
            connection.close()

    async def _send(self, connection: Connection | None, target: str) -> Connection | None:
        try:
            if connection is None:
                connection = self._client.connection()
                await connection.open()
            response = await connection.request("GET", target)
        except WireError as error:
            self.outcome.lost.append(str(error))
            if connection is not None:
                connection.close()
            return None
        self.outcome.statuses[response.status] += 1
        self.outcome.seconds.append(response.seconds)
        if connection.reusable and response.header("connection") != "close":
            return connection
        connection.close()
        return None
