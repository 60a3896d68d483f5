"""Improvement 5, the cache: Redis, or a bounded dictionary in development, and never a reason for a request to fail.

Every operation gives an answer in time. Trouble is counted as `error` and treated as a miss (A3); after the first
trouble the server is left alone for a second at a time, so that a Redis that hangs does not slow every request down.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Annotated, Protocol, TypeVar
from urllib.parse import urlsplit

from opentelemetry.instrumentation.utils import suppress_instrumentation
from pydantic import AfterValidator, Field, SecretStr

from chassis.metrics import Metrics
from chassis.service import read
from chassis.settings import ChassisSettings, RequiredWhenDeployed
from chassis.tracing import Tracing

SCHEMES = ("redis", "rediss", "unix")

OPERATION_TIMEOUT = 0.5
"""Bound on one operation with all that belongs to it: waiting for a connection, connecting, TLS, handshake, command."""

PAUSE = 1.0
MAX_ENTRIES = 10_000
"""Bound of the in-process cache."""

logger = logging.getLogger(__name__)

T = TypeVar("T")


def _redis_url(value: SecretStr | None) -> SecretStr | None:
    problem = "must look like redis://user:password@host:6379/0 (or rediss://, unix://)"
    if value is None:
        return None
    try:
        parts = urlsplit(value.get_secret_value())
        _ = parts.port
    except ValueError:
        raise ValueError(problem) from None
    place = parts.path if parts.scheme == "unix" else parts.hostname
    if parts.scheme not in SCHEMES or not place:
        raise ValueError(problem)
    # As late as this, since only who has a server pays for its client.
    from chassis.cache_redis import accepts

    if not accepts(value.get_secret_value()):
        raise ValueError(f"{problem}, and its options must be those of redis-py")
    return value


class CacheSettings(ChassisSettings):
    """The variables of a service that has a cache."""

    redis_url: Annotated[SecretStr | None, RequiredWhenDeployed, AfterValidator(_redis_url)] = (
        Field(
            None, description="redis://user:password@host:6379/0; in-process cache in development"
        )
    )
    cache_ttl: int = Field(
        300, ge=1, le=31_536_000, description="Seconds after which a cached value is forgotten"
    )


class Backend(Protocol):
    """Where the values are. `troubles` is what its methods raise, besides `OSError`, when it is away."""

    troubles: tuple[type[Exception], ...]

    async def get(self, key: str) -> bytes | None: ...
    async def set(self, key: str, value: bytes, ttl: int) -> None: ...
    async def delete(self, *keys: str) -> None: ...
    async def ping(self) -> None: ...
    async def aclose(self) -> None: ...


class Cache:
    """What the application uses: keys of its own, a default lifetime, and no exceptions.

    Args:
        backend: where the values are.
        prefix: stands before every key, so that services may share a server.
        ttl: default lifetime in seconds.
        count: is told the operation and its result: `hit` (done), `miss` or `error`.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        prefix: str,
        ttl: int,
        count: Callable[[str, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend = backend
        # A timeout is one of these.
        self._troubles: tuple[type[Exception], ...] = (OSError, *backend.troubles)
        self._prefix = prefix
        self._ttl = ttl
        self._count = count
        self._clock = clock
        self._down = False
        self._retry_at = 0.0

    @classmethod
    def open(cls, settings: CacheSettings, metrics: Metrics, tracing: Tracing) -> "Cache":
        """Make the cache that the settings ask for; nothing is connected yet."""
        backend: Backend = MemoryBackend()
        if settings.redis_url is not None:
            # Heavy to import: only who has a server pays for its client.
            from chassis.cache_redis import RedisBackend

            backend = RedisBackend(settings.redis_url.get_secret_value(), tracing)
        metrics.start_cache()
        prefix = f"{read().name}:"
        return cls(backend, prefix=prefix, ttl=settings.cache_ttl, count=metrics.cache)

    async def get(self, key: str) -> bytes | None:
        """Return the value, or `None` when it is not there or cannot be had."""
        answered, value = await self._attempt("get", lambda: self._backend.get(self._prefix + key))
        if answered:
            self._count("get", "miss" if value is None else "hit")
        return value

    async def set(self, key: str, value: bytes, ttl: int | None = None) -> None:
        """Keep `value` for `ttl` seconds (default: `CACHE_TTL`), if possible."""
        lifetime = self._ttl if ttl is None else ttl
        stored, _ = await self._attempt(
            "set", lambda: self._backend.set(self._prefix + key, value, lifetime)
        )
        if stored:
            self._count("set", "hit")

    async def delete(self, *keys: str) -> None:
        """Forget `keys`, if possible; what cannot be deleted ends with its lifetime.

        Tried during the pause after a failure, too: who is left with the old value is every replica.
        """
        prefixed = [self._prefix + key for key in keys]
        deleted, _ = await self._attempt(
            "delete", lambda: self._backend.delete(*prefixed), in_pause=True
        )
        if deleted:
            self._count("delete", "hit")

    async def check(self) -> None:
        """Ask the backend for a sign of life, for the readiness probe; whatever is raised means no."""
        with suppress_instrumentation():
            async with asyncio.timeout(OPERATION_TIMEOUT):
                await self._backend.ping()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._backend.aclose()

    async def _attempt(
        self, operation: str, call: Callable[[], Awaitable[T]], *, in_pause: bool = False
    ) -> tuple[bool, T | None]:
        probing = self._down
        if probing:
            if self._clock() < self._retry_at and not in_pause:
                self._count(operation, "error")
                return False, None
            # This call is the probe; the others go on leaving the server alone until it is back.
            self._retry_at = self._clock() + PAUSE
        try:
            async with asyncio.timeout(OPERATION_TIMEOUT):
                value = await call()
        except UnicodeEncodeError:
            # A key that is no text: a mistake of the caller, which must not turn the cache off for others.
            raise
        except self._troubles as error:
            self._count(operation, "error")
            self._note_failure(error)
            return False, None
        if probing:
            self._note_success()
        return True, value

    def _note_failure(self, error: Exception) -> None:
        self._retry_at = self._clock() + PAUSE
        if not self._down:
            self._down = True
            logger.warning("cache_down", extra={"reason": f"{type(error).__name__}: {error}"})

    def _note_success(self) -> None:
        if self._down:
            self._down = False
            logger.info("cache_up")


class MemoryBackend:
    """A dictionary with lifetimes that drops what was used longest ago when it is full.

    Each process has its own, which is why a deployed service, with several replicas, must not use it.
    """

    troubles: tuple[type[Exception], ...] = ()

    def __init__(
        self, *, max_entries: int = MAX_ENTRIES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._entries: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._max_entries = max_entries
        self._clock = clock

    async def get(self, key: str) -> bytes | None:
        expires_at, value = self._entries.get(key, (0.0, b""))
        if expires_at <= self._clock():
            self._entries.pop(key, None)
            return None
        self._entries.move_to_end(key)
        return value

    async def set(self, key: str, value: bytes, ttl: int) -> None:
        self._entries[key] = (self._clock() + ttl, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    async def delete(self, *keys: str) -> None:
        for key in keys:
            self._entries.pop(key, None)

    async def ping(self) -> None:
        """Always there."""

    async def aclose(self) -> None:
        self._entries.clear()
