"""A3: the cache answers in time, counts what happened and never raises."""

import asyncio
import logging
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from chassis import cache as module
from chassis.cache import PAUSE, Cache, CacheSettings, MemoryBackend
from chassis.configuration import ConfigurationError, load

Counts = list[tuple[str, str]]


class Backend(MemoryBackend):
    """Fails, or waits for `gate`, when told to; knows how often it was asked."""

    troubles: tuple[type[Exception], ...] = (RedisError,)

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.calls = 0

    async def _answer(self) -> None:
        self.calls += 1
        error = self.error
        await self.gate.wait()
        if error is not None:
            raise error

    async def get(self, key: str) -> bytes | None:
        await self._answer()
        return await super().get(key)

    async def set(self, key: str, value: bytes, ttl: int) -> None:
        await self._answer()
        await super().set(key, value, ttl)

    async def ping(self) -> None:
        await self._answer()


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def counts() -> Counts:
    return []


@pytest.fixture
def cache(backend: Backend, counts: Counts, clock: Any) -> Cache:
    def count(operation: str, result: str) -> None:
        counts.append((operation, result))

    return Cache(backend, prefix="user-service:", ttl=300, count=count, clock=clock)


@pytest.mark.criterion("A3")
async def test_every_operation_is_counted(cache: Cache, counts: Counts) -> None:
    assert await cache.get("k") is None
    await cache.set("k", b"v")
    assert await cache.get("k") == b"v"
    await cache.delete("k")
    assert await cache.get("k") is None
    assert counts == [
        ("get", "miss"),
        ("set", "hit"),
        ("get", "hit"),
        ("delete", "hit"),
        ("get", "miss"),
    ]


async def test_keys_carry_the_name_of_the_service(cache: Cache, backend: Backend) -> None:
    await cache.set("k", b"v")
    assert await backend.get("user-service:k") == b"v"


@pytest.mark.parametrize(("ttl", "lifetime"), [(None, 300), (7, 7)])
async def test_a_lifetime_can_be_given(
    backend: Backend, cache: Cache, monkeypatch: pytest.MonkeyPatch, ttl: int, lifetime: int
) -> None:
    lifetimes: list[int] = []

    async def keep(key: str, value: bytes, ttl: int) -> None:
        lifetimes.append(ttl)

    monkeypatch.setattr(backend, "set", keep)
    await cache.set("k", b"v", ttl)
    assert lifetimes == [lifetime]


@pytest.mark.criterion("A3")
@pytest.mark.parametrize("error", [RedisConnectionError("away"), OSError("away"), TimeoutError()])
async def test_trouble_is_an_error_and_a_miss(
    cache: Cache, backend: Backend, counts: Counts, error: Exception
) -> None:
    await cache.set("k", b"v")
    backend.error = error
    assert await cache.get("k") is None
    assert counts[1:] == [("get", "error")]


@pytest.mark.criterion("A3")
async def test_after_trouble_the_server_is_left_alone(
    cache: Cache, backend: Backend, counts: Counts
) -> None:
    backend.error = OSError("away")
    await cache.get("k")
    await cache.get("k")
    await cache.set("k", b"v")
    assert backend.calls == 1
    assert counts == [("get", "error"), ("get", "error"), ("set", "error")]


@pytest.mark.criterion("A3")
async def test_what_was_written_is_forgotten_all_the_same(cache: Cache, backend: Backend) -> None:
    """The trouble may have been one slow command, and the old value would live on for all replicas."""
    await cache.set("k", b"old")
    backend.error = TimeoutError()
    await cache.get("k")
    backend.error = None
    await cache.delete("k")
    assert await cache.get("k") is None
    assert await backend.get("user-service:k") is None


@pytest.mark.criterion("A3")
async def test_after_the_pause_one_call_tries(
    cache: Cache, backend: Backend, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "chassis.cache")
    await cache.set("k", b"v")
    backend.error = OSError("away")
    await cache.get("k")
    clock.advance(PAUSE)
    backend.calls = 0
    await asyncio.gather(*(cache.get("k") for _ in range(20)))
    assert backend.calls == 1

    backend.error = None
    clock.advance(PAUSE)
    assert await cache.get("k") == b"v"
    assert await cache.get("k") == b"v"
    assert [(r.levelname, r.message) for r in caplog.records] == [
        ("WARNING", "cache_down"),
        ("INFO", "cache_up"),
    ]


async def test_an_answer_from_before_the_trouble_says_nothing_about_now(
    cache: Cache, backend: Backend, counts: Counts
) -> None:
    await cache.set("k", b"v")
    backend.gate.clear()
    early = asyncio.create_task(cache.get("k"))
    await asyncio.sleep(0)
    backend.gate.set()
    backend.error = OSError("away")
    late = asyncio.create_task(cache.get("k"))
    assert await early == b"v"
    assert await late is None
    backend.error = None
    assert await cache.get("k") is None
    assert counts[-1] == ("get", "error")


@pytest.mark.criterion("A3")
async def test_a_server_that_hangs_is_not_waited_for(
    cache: Cache, backend: Backend, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OPERATION_TIMEOUT", 0.01)
    backend.gate.clear()
    assert await cache.get("k") is None
    assert counts == [("get", "error")]


@pytest.mark.criterion("H3")
async def test_the_check_tells_what_the_operations_hide(cache: Cache, backend: Backend) -> None:
    await cache.check()
    backend.error = OSError("away")
    with pytest.raises(OSError, match="away"):
        await cache.check()


async def test_in_process_values_end(clock: Any) -> None:
    backend = MemoryBackend(clock=clock)
    await backend.set("k", b"v", 10)
    clock.advance(9)
    assert await backend.get("k") == b"v"
    clock.advance(1)
    assert await backend.get("k") is None


async def test_in_process_what_was_used_longest_ago_goes_first() -> None:
    backend = MemoryBackend(max_entries=2)
    for key in ("a", "b"):
        await backend.set(key, b"v", 10)
    await backend.get("a")
    await backend.set("c", b"v", 10)
    assert [await backend.get(key) for key in ("a", "b", "c")] == [b"v", None, b"v"]
    await backend.delete("a", "never there")
    await backend.aclose()
    assert await backend.get("c") is None


@pytest.mark.criterion("S2")
@pytest.mark.parametrize(
    "url",
    [
        "http://:hunter2@cache:6379",
        "redis://",
        "redis://:hunter2@cache:port/0",
        "redis://:hunter2@cache/0?ssl_cert_reqs=none",
        "redis://:hunter2@cache/0?socket_timeout=soon",
        "redis://:hunter2@cache/0?retry=5",
        "rediss://:hunter2@cache/0?ssl_cert_reqs=perhaps",
        "unix://",
        "hunter2",
    ],
)
def test_a_wrong_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load(CacheSettings, _env_file=None, redis_url=url)
    assert [problem.variable for problem in refused.value.problems] == ["REDIS_URL"]
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["redis://cache", "rediss://user:secret@cache:6380/1", "unix:///run/redis.sock?db=1"]
)
def test_the_urls_of_redis_are_accepted(url: str) -> None:
    settings = load(CacheSettings, _env_file=None, redis_url=url)
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == url


@pytest.mark.criterion("S3")
@pytest.mark.parametrize("environment", ["staging", "production"])
def test_a_deployed_service_needs_a_shared_cache(environment: str) -> None:
    with pytest.raises(ConfigurationError, match="REDIS_URL: is required"):
        load(
            CacheSettings,
            _env_file=None,
            environment=environment,
            allowed_origins="https://app.example.com",
        )
