"""The cache's server: Redis, over a few connections that never wait for long."""

from typing import cast

from opentelemetry.instrumentation.redis import RedisInstrumentor
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from chassis.tracing import Tracing

SOCKET_TIMEOUT = 0.25
CONNECTION_TIMEOUT = 0.5
"""Seconds to wait for a free connection; the cache gives up on the whole operation after as long."""

MAX_CONNECTIONS = 16
"""Each has one command under way for a fraction of a millisecond: more would only make a cold start slower."""


def accepts(url: str) -> bool:
    """Whether the client could connect by this URL; unknown options show only when a connection is made."""
    try:
        _pool(url).make_connection()  # type: ignore[no-untyped-call]  # untyped in redis-py
    except Exception:
        # Whatever its option meets first: a TypeError, ValueError, AttributeError or RedisError.
        return False
    return True


def _pool(url: str) -> BlockingConnectionPool:
    return BlockingConnectionPool.from_url(
        url,
        max_connections=MAX_CONNECTIONS,
        timeout=CONNECTION_TIMEOUT,
        socket_timeout=SOCKET_TIMEOUT,
        socket_connect_timeout=SOCKET_TIMEOUT,
        retry=Retry(NoBackoff(), 0),
        # The short handshake: nothing of RESP3 is used, and connecting costs a third.
        protocol=2,
        driver_info=None,
    )


class RedisBackend:
    """Redis, asked once and briefly: retries are off, since a miss is cheaper than a second try."""

    # The latter two are what redis-py makes of an answer that is no RESP.
    troubles: tuple[type[Exception], ...] = (RedisError, ValueError, RecursionError)

    def __init__(self, url: str, tracing: Tracing) -> None:
        self._pool = _pool(url)
        self._client = Redis(connection_pool=self._pool)
        # This client only, and the spans show the command but no keys or values (T4).
        RedisInstrumentor.instrument_client(self._client, tracer_provider=tracing.provider)

    async def get(self, key: str) -> bytes | None:
        # Text only with `decode_responses`, which is off.
        return cast(bytes | None, await self._client.get(key))

    async def set(self, key: str, value: bytes, ttl: int) -> None:
        await self._client.set(key, value, ex=ttl)

    async def delete(self, *keys: str) -> None:
        await self._client.delete(*keys)

    async def ping(self) -> None:
        await self._client.ping()

    async def aclose(self) -> None:
        await self._client.aclose()
        await self._pool.aclose()
