"""The applications as servers: CPU time per request, latency under load, start, memory."""

import os
import random
import re
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from benchmarks.collector import Collector
from benchmarks.services import RENDER, Service, work_directory

SLICE = 512
SETTLE_SECONDS = 0.15
READY_SECONDS = 20.0
HEADERS = "Host: 127.0.0.1\r\nUser-Agent: benchmark/1\r\nAccept: */*\r\n"
SERVER_CORE, CLIENT_CORE = 0, 1


@dataclass(slots=True)
class Server:
    """A running application and what its slices took, CPU seconds per request."""

    service: Service
    port: int
    pid: int
    item: str = ""
    slices: dict[str, list[float]] = field(default_factory=dict)


@contextmanager
def running(service: Service, collector: Collector) -> Iterator[Server]:
    """Serve `service` on the core of servers until the block ends."""
    port = free_port()
    environment = service.environment(collector) | {"HOST": "127.0.0.1", "PORT": str(port)}
    # The lines are written all the same.
    process = subprocess.Popen(
        [str(service.python), "-m", "benchmarks.serve", service.app, str(port)],
        cwd=work_directory(service),
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    try:
        os.sched_setaffinity(process.pid, {SERVER_CORE})
        connect(port).close()
        yield Server(service, port, process.pid)
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port that is free now, as is the one 1,000 above."""
    while True:
        port = random.randrange(12_000, 30_000)
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + 1000))
            except OSError:
                continue
            return port


def connect(port: int) -> socket.socket:
    """Connect, once the server listens."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def send(connection: socket.socket, request: bytes) -> bytes:
    """Send one request and return the whole answer, which has a length.

    Raises:
        AssertionError: the answer is no 2xx.
    """
    connection.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += _received(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 2"), head
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    assert length is not None
    while len(body) < int(length[1]):
        body += _received(connection)
    return body


def _received(connection: socket.socket) -> bytes:
    received = connection.recv(65536)
    assert received, "the server hung up"
    return received


def read_note(server: Server) -> bytes:
    return f"GET /notes/7 HTTP/1.1\r\n{HEADERS}\r\n".encode()


def read_item(server: Server) -> bytes:
    return f"GET /items/{server.item} HTTP/1.1\r\n{HEADERS}\r\n".encode()


def create_item(server: Server) -> bytes:
    body = f'{{"name":"{uuid4()}"}}'
    head = f"POST /items HTTP/1.1\r\n{HEADERS}Content-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


ROUTES: dict[str, Callable[[Server], bytes]] = {
    "in-memory read": read_note,
    "GET /items/{id}, cached": read_item,
    "POST /items on SQLite": create_item,
}


def measure_cpu(servers: Sequence[Server], route: str, rounds: int) -> None:
    """Let all servers take turns, in shuffled order, with slices of requests to one route."""
    make = ROUTES[route]
    for server in servers:
        with connect(server.port) as connection:
            if not server.item:
                created = send(connection, create_item(server)).decode()
                server.item = re.findall(r'"id":"([^"]+)"', created)[0]
            for _ in range(2 * SLICE):
                send(connection, make(server))
        server.slices[route] = []
    for _ in range(rounds):
        for server in random.sample(servers, len(servers)):
            requests = [make(server) for _ in range(SLICE)]
            before = cpu_seconds(server.pid)
            # A connection of its own: a server ends one that is idle for 5 s.
            with connect(server.port) as connection:
                for request in requests:
                    send(connection, request)
            # What is exported behind the requests belongs to them.
            time.sleep(SETTLE_SECONDS)
            server.slices[route].append((cpu_seconds(server.pid) - before) / SLICE)


def cpu_seconds(pid: int) -> float:
    """What all threads of a process have run so far; `/proc/<pid>/stat` counts in hundredths only."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def best_decile(values: Sequence[float]) -> float:
    """The 10th percentile: the core at its quickest, which flips on a shared machine."""
    return statistics.quantiles(values, n=10)[0]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Bare over another, by CPU time per request: of the best decile, and pairwise with quartiles."""

    microseconds: float
    ratio: float
    low: float
    high: float


def compare(bare: Server, other: Server, route: str) -> Comparison:
    base, values = bare.slices[route], other.slices[route]
    low, _, high = statistics.quantiles([b / v for b, v in zip(base, values, strict=True)], n=4)
    best = best_decile(values)
    return Comparison(best * 1e6, best_decile(base) / best, low, high)


@dataclass(frozen=True, slots=True)
class Latency:
    """Under as much load as the server takes."""

    per_second: float
    p50_ms: float
    p99_ms: float


def wrk(server: Server, seconds: int, path: str = "/notes/7") -> Latency:
    """Run wrk with 16 connections against a server."""
    url = f"http://127.0.0.1:{server.port}{path}"
    command = [
        "taskset",
        "-c",
        str(CLIENT_CORE),
        "wrk",
        "-t1",
        "-c16",
        f"-d{seconds}s",
        "--latency",
    ]
    output = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in output, output
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    assert rate is not None
    return Latency(float(rate[1]), _milliseconds(output, "50%"), _milliseconds(output, "99%"))


def _milliseconds(output: str, percentile: str) -> float:
    found = re.search(rf"{percentile}\s+([\d.]+)(us|ms|s)\b", output)
    assert found is not None
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]


def resident_mb(pid: int) -> float:
    """Resident memory of a process in MB."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def start_to_ready(service: Service, collector: Collector) -> float:
    """Seconds from the start of the process to its first good answer to a readiness probe."""
    port = free_port()
    command = ["-m", "benchmarks.serve", service.app, str(port)]
    if service.app == "chassis":
        command = ["-m", "app"]
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(service.python), *command],
        cwd=RENDER if service.app == "chassis" else work_directory(service),
        env=service.environment(collector) | {"HOST": "127.0.0.1", "PORT": str(port)},
        stdout=subprocess.DEVNULL,
    )
    request = f"GET /health/ready HTTP/1.1\r\n{HEADERS}Connection: close\r\n\r\n".encode()
    try:
        while time.perf_counter() - started < READY_SECONDS:
            try:
                with socket.create_connection(("127.0.0.1", port)) as connection:
                    send(connection, request)
                return time.perf_counter() - started
            except (ConnectionRefusedError, AssertionError):
                time.sleep(0.005)
        raise AssertionError(f"{service.name} was not ready in {READY_SECONDS} s")
    finally:
        process.kill()
        process.wait()
