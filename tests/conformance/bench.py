"""The place where checks find what they need: started services to share, fresh ones of their own, and real servers."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from pathlib import Path

from conformance.counterparts.postgres import Postgres
from conformance.description import Description
from conformance.process import Process, StartError, free_port, run
from conformance.registry import NotApplicableError
from conformance.rig import Profile, Rig, base_environment

DEFAULT = Profile()

_USED: ContextVar[list[Rig] | None] = ContextVar("rigs used by the running check", default=None)


class Bench:
    """Everything the suite has running, and the way to get more of it."""

    def __init__(self, description: Description) -> None:
        self.description = description
        self.rigs: list[Rig] = []
        self._shared: Rig | None = None
        self._stack = AsyncExitStack()
        self._templates: dict[int, str] = {}
        self._servers: dict[str, Postgres] = {}
        self._starting = asyncio.Lock()
        self._launching = asyncio.Semaphore(2)

    async def close(self) -> None:
        """Stop everything."""
        await self._stack.aclose()

    async def rig(self) -> Rig:
        """Return the shared instance; it is started at its first use, and again when a check has ended it.

        The runner lets one check at a time use it.
        """
        if self._shared is None or not self._shared.alive:
            self._shared = await self._start(DEFAULT, self._stack)
        self._note(self._shared)
        return self._shared

    @asynccontextmanager
    async def fresh(
        self,
        env: Mapping[str, str | None] | None = None,
        *,
        own_postgres: bool = False,
        await_ready: bool = True,
        directory: Path | None = None,
    ) -> AsyncIterator[Rig]:
        """Lend a new instance that ends with the block."""
        profile = Profile(env or {}, own_postgres, await_ready, directory)
        async with AsyncExitStack() as stack:
            rig = await self._start(profile, stack)
            self._note(rig)
            yield rig

    def _note(self, rig: Rig) -> None:
        used = _USED.get()
        if used is not None:
            used.append(rig)

    def watch(self) -> list[Rig]:
        """Begin a list of the rigs that the running check uses."""
        used: list[Rig] = []
        _USED.set(used)
        return used

    async def _start(self, profile: Profile, stack: AsyncExitStack) -> Rig:
        rig = Rig(self.description, profile)
        self.rigs.append(rig)
        self._note(rig)
        if not self.description.command:
            rig.attach()
            return rig
        postgres, template = None, ""
        if self.description.database:
            postgres, template = await self._database(own=profile.own_postgres, stack=stack)
        stack.push_async_callback(rig.stop)
        async with self._launching:
            await rig.start(postgres, template)
        return rig

    async def _database(self, own: bool, stack: AsyncExitStack) -> tuple[Postgres, str]:
        if own:
            server = Postgres()
            stack.push_async_callback(server.stop)
            await server.start()
        else:
            async with self._starting:
                if "shared" not in self._servers:
                    server = Postgres()
                    self._stack.push_async_callback(server.stop)
                    await server.start()
                    self._servers["shared"] = server
                server = self._servers["shared"]
        async with self._starting:
            if server.port not in self._templates:
                self._templates[server.port] = await self._migrated(server)
        return server, self._templates[server.port]

    async def _migrated(self, server: Postgres) -> str:
        name = await server.create_database()
        if self.description.commands:
            done = await self.run_command("migrate", env=self.command_environment(server, name))
            if done.returncode != 0:
                raise StartError(f"`migrate` failed with exit code {done.returncode}", done.tail())
        return name

    async def postgres(self) -> Postgres:
        """Return the shared database server."""
        server, _ = await self._database(own=False, stack=self._stack)
        return server

    def command_environment(
        self, server: Postgres | None = None, database: str = "postgres"
    ) -> dict[str, str]:
        """Return an environment in which the service's commands run; the ports in it are free."""
        values: dict[str, object] = {"port": free_port(), "metrics_port": free_port()}
        values["redis_url"] = "redis://127.0.0.1:1/0"
        port, password = (server.port, server.password) if server else (1, "none")
        values["database_url"] = f"postgresql://service:{password}@127.0.0.1:{port}/{database}"
        values.update(dict.fromkeys(self.description.dependencies, 1))
        return {**base_environment(), **self.description.variables(values)}

    async def run_command(
        self,
        *arguments: str,
        env: Mapping[str, str],
        cwd: Path | None = None,
        within: float = 20.0,
    ) -> Process:
        """Run the service's program with arguments to its end."""
        if not self.description.command:
            raise NotApplicableError("the suite was not told how to start the service")
        return await run(
            self.description.argv(*arguments), env, cwd or self.description.directory, within
        )
