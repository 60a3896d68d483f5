"""A3 and T4 with Redis, or with a stand-in on a socket; `TEST_REDIS_URL` names a real one."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from uuid import uuid4

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from redis.exceptions import RedisError

from chassis import cache as cache_module
from chassis import cache_redis
from chassis.cache import Cache, CacheSettings
from chassis.configuration import load
from chassis.metrics import Metrics
from chassis.service import read
from chassis.tracing import Tracing

Counts = dict[tuple[str, str], float]


class Server:
    """Speaks as much of the protocol as the cache uses, or hangs or talks nonsense when told to."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.garbage = b""
        self.answering = asyncio.Event()
        self.answering.set()
        self.connections: dict[asyncio.StreamWriter, asyncio.Event] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended = self.connections[writer] = asyncio.Event()
        with suppress(ConnectionError):
            while head := await reader.readline():
                words = [await self._word(reader) for _ in range(int(head[1:]))]
                await self.answering.wait()
                writer.write(self.garbage or self._answer(words))
        writer.close()
        ended.set()

    async def aclose(self) -> None:
        self.answering.set()
        for writer, ended in self.connections.items():
            writer.close()
            await ended.wait()

    async def _word(self, reader: asyncio.StreamReader) -> bytes:
        length = int((await reader.readline())[1:])
        return (await reader.readexactly(length + 2))[:-2]

    def _answer(self, words: list[bytes]) -> bytes:
        match words:
            case [b"GET", key]:
                value = self.values.get(key)
                return b"$-1\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value)
            case [b"SET", key, value, b"EX", _]:
                self.values[key] = value
                return b"+OK\r\n"
            case [b"DEL", *keys]:
                return b":%d\r\n" % sum(self.values.pop(key, None) is not None for key in keys)
            case [b"PING"]:
                return b"+PONG\r\n"
            case _:
                return b"-ERR unknown command\r\n"


@asynccontextmanager
async def stand_in() -> AsyncIterator[tuple[Server, str]]:
    server = Server()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    try:
        yield server, f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}/0"
    finally:
        listener.close()
        await server.aclose()


@asynccontextmanager
async def opened(url: str | None) -> AsyncIterator[tuple[Cache, Metrics, InMemorySpanExporter]]:
    settings = load(CacheSettings, _env_file=None, redis_url=url)
    metrics = Metrics(read(), "development")
    tracing = Tracing(read(), settings)
    spans = InMemorySpanExporter()
    tracing.add_processor(SimpleSpanProcessor(spans))
    cache = Cache.open(settings, metrics, tracing)
    try:
        yield cache, metrics, spans
    finally:
        await cache.aclose()


@pytest.fixture
async def redis_url(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    if given := os.environ.get("TEST_REDIS_URL"):
        # The service's own tests run at the same time, and remove all keys of the service.
        monkeypatch.setattr(cache_module, "read", lambda: replace(read(), name=uuid4().hex))
        yield given
        return
    async with stand_in() as (_, url):
        yield url


def counted(metrics: Metrics) -> Counts:
    return {
        (sample.labels["operation"], sample.labels["result"]): sample.value
        for family in metrics.registry.collect()
        if family.name == "cache_operations"
        for sample in family.samples
        if sample.value
    }


@pytest.mark.criterion("A3")
async def test_values_come_back_until_they_are_deleted(redis_url: str) -> None:
    key = uuid4().hex
    async with opened(redis_url) as (cache, metrics, _):
        assert await cache.get(key) is None
        await cache.set(key, b"\x00\xff")
        assert await cache.get(key) == b"\x00\xff"
        await cache.delete(key)
        assert await cache.get(key) is None
        await cache.check()
        assert counted(metrics) == {
            ("get", "miss"): 2,
            ("get", "hit"): 1,
            ("set", "hit"): 1,
            ("delete", "hit"): 1,
        }


@pytest.mark.criterion("T4")
async def test_spans_show_commands_without_keys_and_values(redis_url: str) -> None:
    async with opened(redis_url) as (cache, _, spans):
        await cache.set("hunter2", b"hunter2")
        await cache.delete("hunter2")
        await cache.check()
        finished = spans.get_finished_spans()
    assert [span.name for span in finished] == ["SET", "DEL"]
    assert finished[0].attributes is not None
    assert finished[0].attributes["db.system.name"] == "redis"
    assert "hunter2" not in "".join(span.to_json() for span in finished)


@pytest.mark.criterion("D3")
async def test_two_caches_in_one_process_have_spans_of_their_own(redis_url: str) -> None:
    async with opened(redis_url) as (_, _, other), opened(redis_url) as (cache, _, spans):
        await cache.get("k")
    assert len(spans.get_finished_spans()) == 1
    assert not other.get_finished_spans()


@pytest.mark.criterion("M6")
async def test_the_series_start_at_zero() -> None:
    async with opened(None) as (_, metrics, _):
        for result in ("hit", "miss", "error"):
            labels = {"service": read().name, "operation": "get", "result": result}
            assert metrics.registry.get_sample_value("cache_operations_total", labels) == 0


async def test_without_a_url_values_stay_in_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    async with opened(None) as (cache, _, spans):
        await cache.check()
        await cache.set("k", b"v")
        assert await cache.get("k") == b"v"
        assert not spans.get_finished_spans()


@pytest.mark.criterion("A3")
async def test_nobody_listening_is_an_error_at_once(unused_tcp_port: int) -> None:
    async with opened(f"redis://127.0.0.1:{unused_tcp_port}/0") as (cache, metrics, _):
        async with asyncio.timeout(1):
            assert await cache.get("k") is None
        assert counted(metrics) == {("get", "error"): 1}
        with pytest.raises(RedisError):
            await cache.check()


@pytest.mark.criterion("A3")
async def test_a_server_that_hangs_costs_one_short_wait_and_no_later_answer_is_mixed_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cache_redis, "SOCKET_TIMEOUT", 0.2)
    monkeypatch.setattr(cache_module, "PAUSE", 0)
    async with stand_in() as (server, url), opened(url) as (cache, metrics, _):
        await cache.set("a", b"a")
        await cache.set("b", b"b")
        server.answering.clear()
        assert await cache.get("a") is None
        with pytest.raises(RedisError):
            await cache.check()
        server.answering.set()
        assert await cache.get("b") == b"b"
        assert counted(metrics)["get", "error"] == 1


@pytest.mark.criterion("A3")
@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"$abc\r\n",
        b":x\r\n",
        b"*z\r\n",
        b"+" + b"a" * 70_000 + b"\r\n",
        b"-MOVED 1 2\r\n",
        b"*1\r\n" * 5000,
    ],
    ids=lambda garbage: repr(garbage[:12]),
)
async def test_an_answer_that_makes_no_sense_is_an_error_and_its_connection_is_thrown_away(
    garbage: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "PAUSE", 0)
    async with stand_in() as (server, url), opened(url) as (cache, metrics, _):
        await cache.set("k", b"v")
        server.garbage = garbage
        assert await cache.get("k") is None
        await cache.set("k", b"w")
        await cache.delete("k")
        server.garbage = b""
        assert await cache.get("k") == b"v"
    for operation in ("get", "set", "delete"):
        assert counted(metrics)[operation, "error"] == 1


async def test_a_key_that_is_no_text_is_the_callers_mistake_and_not_the_servers() -> None:
    async with stand_in() as (_, url), opened(url) as (cache, _, _):
        with pytest.raises(UnicodeEncodeError):
            await cache.get("\ud800")
        await cache.set("k", b"v")
        assert await cache.get("k") == b"v"
