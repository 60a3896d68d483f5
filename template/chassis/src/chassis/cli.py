"""The program: `serve` (also when nothing is said), `migrate` and `config`."""

import argparse
import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from chassis import logging as chassis_logging
from chassis import service
from chassis.configuration import ConfigurationError, effective, example, load
from chassis.settings import ChassisSettings, Environment

logger = logging.getLogger(__name__)

EX_CONFIG = 78
"""sysexits.h: something was found in an unconfigured or misconfigured state."""


def main(settings: str, create_app: str, arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    Args:
        settings: `module:class` of the service's settings.
        create_app: `module:function` that makes the application from them; imported only to serve.
        arguments: of the command line.

    Returns:
        The exit code: 0, 1 when it could not start, 78 (`EX_CONFIG`) when the configuration is
        wrong, 128 plus the signal's number after a forced end.
    """
    options = _parser().parse_args(arguments)
    facts = service.read()
    _configure_logging(facts, _stated_environment(), "INFO", "json")
    try:
        settings_type = _load_object(settings)
        if options.command == "config" and options.example:
            return _write_example(settings_type, options.example)
        values = load(settings_type)
        _configure_logging(facts, values.environment, values.log_level, values.log_format)
        return _run(options.command, values, create_app)
    except ConfigurationError as error:
        problems = [{"variable": p.variable, "problem": p.message} for p in error.problems]
        logger.critical("configuration is wrong: %s", error, extra={"problems": problems})
        return EX_CONFIG
    except Exception:
        logger.critical("program_failed", exc_info=True)
        return 1


def _parser() -> argparse.ArgumentParser:
    program = Path(sys.argv[0])
    # What `python -m app` leaves of itself is app/__main__.py.
    called = f"-m {program.parent.name}" if program.stem == "__main__" else program.name
    parser = argparse.ArgumentParser(prog=f"python {called}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    commands.add_parser("serve", help="serve requests; the default")
    commands.add_parser("migrate", help="apply database migrations")
    config = commands.add_parser("config", help="print the effective configuration, secrets masked")
    config.add_argument(
        "--example",
        nargs="?",
        const=".env.example",
        metavar="FILE",
        help="write .env.example instead (or FILE; - is standard output)",
    )
    parser.set_defaults(command="serve")
    return parser


def _run(command: str, settings: ChassisSettings, create_app: str) -> int:
    match command:
        case "config":
            for variable, value in effective(settings):
                print(f"{variable}={value}")
            return 0
        case "migrate":
            return _migrate(settings)
        case _:
            from chassis.server import serve

            return serve(_load_object(create_app)(settings), settings)


def _migrate(settings: ChassisSettings) -> int:
    if importlib.util.find_spec("chassis.database") is None:
        logger.info("nothing_to_migrate")
    else:
        importlib.import_module("chassis.database").migrate(settings)
        logger.info("migrated")
    return 0


def _write_example(settings_type: type[ChassisSettings], file: str) -> int:
    if file == "-":
        print(example(settings_type), end="")
    else:
        Path(file).write_text(example(settings_type), encoding="utf-8")
    return 0


def _stated_environment() -> str:
    # For lines before the settings are read; a wrong value may be anything, also a secret.
    stated = os.environ.get("ENVIRONMENT") or Environment.DEVELOPMENT
    return stated if stated in list(Environment) else "unknown"


def _configure_logging(
    facts: service.Service, environment: str, level: str, form: Literal["json", "console"]
) -> None:
    chassis_logging.configure(
        service=facts.name, version=facts.version, environment=environment, level=level, format=form
    )


def _load_object(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
