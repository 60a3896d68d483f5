"""S: process and configuration."""

import asyncio
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from conformance.bench import Bench
from conformance.process import Process, eventually, free_port, run, slowness
from conformance.registry import NotApplicableError, check, expect, expect_all
from conformance.rig import START_TIMEOUT, ShadowDirectory
from conformance.wire import Client, WireError

CONFIGURATION_ERROR = 78


def _set(env: dict[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    merged = {key: value for key, value in env.items() if key not in changes}
    return merged | {key: value for key, value in changes.items() if value is not None}


async def refusal(bench: Bench, changes: Mapping[str, str | None]) -> Process:
    """Start the service with a configuration that it should refuse and return the ended process."""
    env = _set(bench.command_environment(), changes)
    process = Process(bench.description.argv(), env, bench.description.directory)
    await process.start()
    try:
        waiting = asyncio.ensure_future(process.wait(20))
        bound = await eventually(lambda: _bound(int(env["PORT"]), waiting), 20, 0.05)
        shown = ", ".join(f"{key}={value}" for key, value in changes.items())
        expect(bound != "bound", f"{shown} is accepted: the service listens")
        code = await waiting
        expect(code == CONFIGURATION_ERROR, f"{shown}: exit code {code} instead of 78")
        return process
    finally:
        await process.stop()


def _has(output: list[bytes], variable: str, value: str) -> bool:
    pattern = re.compile(rf"\b{variable}\b.*{re.escape(value)}", re.IGNORECASE)
    return any(pattern.search(line.decode("utf-8", "replace")) for line in output)


@check("S1", "unknown values of known keys are refused", needs={"process"}, own=True)
async def unknown_values(bench: Bench) -> str:
    cases: list[dict[str, str | None]] = [{"ENVIRONMENT": "qa"}, {"LOG_FORMAT": "console"}]
    for case in cases:
        process = await refusal(bench, case)
        name = next(iter(case))
        expect(
            name.encode() in b"".join(process.stdout), f"the refusal of {case} does not name {name}"
        )
    return "ENVIRONMENT=qa and LOG_FORMAT=console in production: exit 78, variable named"


@check(
    "S1",
    "`.env` is read, unknown keys in it are ignored, variables win",
    needs={"commands"},
    own=True,
)
async def env_file(bench: Bench) -> str:
    env = _set(bench.command_environment(), {"DB_POOL_MAX_SIZE": None, "REQUEST_TIMEOUT": "7"})
    with ShadowDirectory(bench.description.directory) as directory:
        (directory / ".env").write_text(
            "LOG_LEVEL=WARNING\nREQUEST_TIMEOUT=3\nSOMETHING_UNKNOWN=1\n"
        )
        done = await bench.run_command("config", env=env, cwd=directory)
    expect(
        done.returncode == 0, f"`config` beside an .env with an unknown key: exit {done.returncode}"
    )
    expect(_has(done.stdout, "LOG_LEVEL", "WARNING"), "LOG_LEVEL of the .env file is not in effect")
    expect(
        _has(done.stdout, "REQUEST_TIMEOUT", "7"),
        "the variable REQUEST_TIMEOUT=7 does not win over the file",
    )
    return "known key read, unknown key ignored, variable wins"


@check("S1", "development starts with nothing configured", needs={"process", "commands"}, own=True)
async def nothing_configured(bench: Bench) -> str:
    kept = {"HOST", "PORT"}
    removed = {
        key: None
        for key in bench.command_environment()
        if key.isupper() and key not in {*kept, "PATH", "HOME"}
    }
    with ShadowDirectory(bench.description.directory) as directory:
        async with bench.fresh(removed, directory=directory) as rig:
            rig.metrics_client = Client(rig.port + 1000)
            scraped = await rig.scrape()
            expect(scraped.series > 0, "no metrics on PORT + 1000")
            if "items" in bench.description.capabilities:
                path = await rig.new_item()
                read = await rig.client.get(path)
                expect(read.status == 200, f"an item cannot be read back: {read.brief()}")
    return "ready, serving, metrics on PORT + 1000"


@check("S2", "`config` masks secrets", needs={"commands"}, own=True)
async def config_masks(bench: Bench) -> str:
    secret = "kanarienvogel-config"
    changes = {
        "DATABASE_URL": f"postgresql://user:{secret}@127.0.0.1:5432/db",
        "REDIS_URL": f"redis://:{secret}@127.0.0.1:6379/0",
        "API_TOKEN": secret,
    }
    done = await bench.run_command("config", env=_set(bench.command_environment(), changes))
    text = b"".join([*done.stdout, *done.stderr]).decode()
    expect(done.returncode == 0, f"`config` ends with exit code {done.returncode}: {text[-200:]}")
    expect(secret not in text, "`config` prints a password in clear")
    expect(
        _has(done.stdout, "ENVIRONMENT", "production"),
        "`config` does not print the effective ENVIRONMENT",
    )
    return f"{len(done.stdout)} lines, no secret among them"


@check("S2", "files in /run/secrets are read like variables", needs={"commands"}, own=True)
async def secrets_directory(bench: Bench) -> str:
    unshare = shutil.which("unshare")
    if unshare is None:
        raise NotApplicableError("needs `unshare` for a private /run/secrets")
    env = _set(bench.command_environment(), {"LOG_LEVEL": None})
    script = 'mount -t tmpfs none /run && mkdir /run/secrets && printf ERROR > /run/secrets/LOG_LEVEL && exec "$@"'
    argv = [unshare, "-rm", "sh", "-c", script, "sh", *bench.description.argv("config")]
    done = await run(argv, env, bench.description.directory)
    if (done.stderr and b"unshare" in done.stderr[0]) or any(
        b"mount:" in line for line in done.stderr
    ):
        raise NotApplicableError("this machine allows no private mounts")
    expect(done.returncode == 0, f"`config` ends with exit code {done.returncode}")
    expect(
        _has(done.stdout, "LOG_LEVEL", "ERROR"),
        "LOG_LEVEL from /run/secrets/LOG_LEVEL is not in effect",
    )
    return "LOG_LEVEL came from its file"


@check("S2", "a validation message holds no secret", needs={"process", "database"}, own=True)
async def refusal_hides(bench: Bench) -> str:
    secret = "kanarienvogel-refusal"
    process = await refusal(
        bench, {"DATABASE_URL": f"nonsense://user:{secret}@host:port/db", "ENVIRONMENT": "qa"}
    )
    expect(
        secret.encode() not in b"".join([*process.stdout, *process.stderr]),
        "the refusal prints the password",
    )
    return "bad DATABASE_URL refused without its password"


@check(
    "S3", "all problems at once, one line, exit 78, nothing bound", needs={"process"}, alone=True
)
async def all_problems(bench: Bench) -> str:
    changes: dict[str, str | None] = {
        "ALLOWED_ORIGINS": "*",
        "METRICS_PORT": "many",
        "LOG_LEVEL": "LOUD",
        "REQUEST_TIMEOUT": "soon",
        "DRAIN_SECONDS": "-1",
    }
    if bench.description.database:
        changes |= {"DATABASE_URL": None, "DB_POOL_MAX_SIZE": "-3"}
    if bench.description.cache:
        changes |= {"REDIS_URL": None}
    port = free_port()
    env = _set(bench.command_environment(), {**changes, "PORT": str(port)})
    process = Process(bench.description.argv(), env, bench.description.directory)
    started = time.monotonic()
    await process.start()
    try:
        waiting = asyncio.ensure_future(process.wait(20))
        bound = await eventually(lambda: _bound(port, waiting), 20, 0.05)
        code = await waiting
    finally:
        await process.stop()
    seconds = time.monotonic() - started
    expect(bound != "bound", "the port was bound before the configuration was checked")
    expect(
        code == CONFIGURATION_ERROR,
        f"exit code {code} instead of 78; last output {process.tail(2)}",
    )
    expect(seconds < 5 * slowness(), f"it took {seconds:.1f} s")
    text = b"".join(process.stdout).decode("utf-8", "replace")
    expect_all((f"{name} is not named" for name in changes if name not in text), "of the problems")
    expect(
        len(process.logs()) == len(process.stdout) == 1,
        f"{len(process.stdout)} lines instead of one JSON line",
    )
    expect(
        process.logs()[0].get("level") in {"ERROR", "CRITICAL"},
        "the line is not at ERROR or CRITICAL",
    )
    expect("Traceback" not in text and not process.stderr, "a traceback, or output on stderr")
    return f"{len(changes)} problems named in one line, exit 78 after {seconds:.1f} s"


async def _bound(port: int, waiting: "asyncio.Future[int | None]") -> str:
    try:
        async with Client(port, within=1).connection():
            return "bound"
    except WireError:
        return "ended" if waiting.done() else ""


@check(
    "S5", "`migrate` works, and again with nothing to do", needs={"commands", "database"}, own=True
)
async def migrate_twice(bench: Bench) -> str:
    server = await bench.postgres()
    database = await server.create_database()
    env = bench.command_environment(server, database)
    for turn in ("first", "second"):
        done = await bench.run_command("migrate", env=env)
        expect(
            done.returncode == 0,
            f"the {turn} `migrate` ends with exit code {done.returncode}: {done.tail(2)}",
        )
    tables = await server.execute(
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", database
    )
    expect(tables != ["0"], "`migrate` made no table")
    return f"{tables[0]} tables, second run exit 0"


@check("S5", "`config --example` writes .env.example", needs={"commands"}, own=True)
async def config_example(bench: Bench) -> str:
    with ShadowDirectory(bench.description.directory) as directory:
        done = await bench.run_command(
            "config", "--example", env=bench.command_environment(), cwd=directory
        )
        written = directory / ".env.example"
        text = b"".join(done.stdout).decode() + (written.read_text() if written.exists() else "")
    expect(done.returncode == 0, f"exit code {done.returncode}")
    wanted = [
        "ENVIRONMENT",
        "PORT",
        "LOG_LEVEL",
        "ALLOWED_ORIGINS",
        "DRAIN_SECONDS",
        "REQUEST_TIMEOUT",
    ]
    expect_all(f"{name} is missing" for name in wanted if name not in text)
    return f"{text.count('=')} variables"


@check(
    "S5",
    "`serve` starts the service, as no command does; an unknown command does not",
    needs={"commands"},
    own=True,
)
async def serve_command(bench: Bench) -> str:
    unknown = await bench.run_command("no-such-command", env=bench.command_environment())
    expect(unknown.returncode not in (0, None), "an unknown command ends with exit code 0")
    server = await bench.postgres() if bench.description.database else None
    env = bench.command_environment(server)
    process = Process(bench.description.argv("serve"), env, Path(bench.description.directory))
    await process.start()
    try:
        client = Client(int(env["PORT"]))

        async def alive() -> bool:
            try:
                return (await client.get("/health/live")).status == 200
            except WireError:
                return False

        expect(await eventually(alive, START_TIMEOUT, 0.05), "`serve` does not serve")
    finally:
        await process.stop()
    return f"`serve` serves; unknown command: exit {unknown.returncode}"
