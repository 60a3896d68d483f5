"""S3, S5: the program as a shell sees it, by its exit code and its output."""

import importlib.util
import json
import logging
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import FastAPI
from pydantic import Field, SecretStr

from chassis import cli, configuration, server, service
from chassis.configuration import example
from chassis.settings import ChassisSettings, RequiredWhenDeployed

CANARY = "hunter2-canary"
NOT_THERE = "chassis.no_such_module:create_app"


class Settings(ChassisSettings):
    api_token: Annotated[SecretStr | None, RequiredWhenDeployed] = Field(
        None, description="Token of another service"
    )


SETTINGS = f"{__name__}:Settings"


def create_app(settings: ChassisSettings) -> FastAPI:
    return FastAPI(title=settings.host)


def fail(settings: ChassisSettings) -> FastAPI:
    raise RuntimeError("no application today")


@pytest.fixture(autouse=True)
def _own_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What `main` changes in its process, put back; and an empty working directory."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    for owner, hook in (
        (sys, "excepthook"),
        (sys, "unraisablehook"),
        (threading, "excepthook"),
    ):
        monkeypatch.setattr(owner, hook, getattr(owner, hook))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(configuration, "SECRETS_DIRECTORY", tmp_path / "secrets")
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run the program with these arguments; its exit code and standard output."""

    def main(*arguments: str, create_app: str = NOT_THERE) -> tuple[int, str]:
        code = cli.main(SETTINGS, create_app, arguments)
        out, err = capsys.readouterr()
        assert err == ""
        return code, out

    return main


Run = Callable[..., tuple[int, str]]


@pytest.mark.criterion("S3")
class TestBadConfiguration:
    @pytest.mark.parametrize("command", [[], ["serve"], ["migrate"], ["config"]])
    def test_is_one_json_line_with_all_problems_and_exit_78(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, command: list[str]
    ) -> None:
        monkeypatch.setenv("ENVIRONMENT", "production")
        monkeypatch.setenv("LOG_FORMAT", "console")
        monkeypatch.setenv("PORT", "none")

        code, out = run(*command)

        (line,) = out.splitlines()
        entry = json.loads(line)
        expected = ["ALLOWED_ORIGINS", "API_TOKEN", "LOG_FORMAT", "PORT"]
        assert code == 78
        assert sorted(p["variable"] for p in entry["problems"]) == expected
        assert all(f"{name}: " in entry["message"] for name in expected)
        assert (entry["level"], entry["environment"]) == ("CRITICAL", "production")
        assert "exception" not in entry

    @pytest.mark.criterion("S2")
    def test_no_value_is_repeated(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in Settings.model_fields:
            monkeypatch.setenv(name.upper(), f"{CANARY}-{name}")

        code, out = run()

        assert code == 78
        assert "READINESS_CRITICAL" in out
        assert CANARY not in out
        assert json.loads(out)["environment"] == "unknown"

    @pytest.mark.criterion("S2")
    def test_no_secret_is_repeated_when_something_else_is_wrong(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PORT", "none")
        monkeypatch.setenv("API_TOKEN", CANARY)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization={CANARY}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://u:{CANARY}@collector")

        code, out = run()

        assert code == 78
        assert CANARY not in out

    def test_the_application_is_not_even_made(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PORT", "none")

        assert run(create_app=NOT_THERE)[0] == 78


@pytest.mark.criterion("S5")
class TestConfig:
    def test_prints_effective_values(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PORT", "8123")

        code, out = run("config")

        assert code == 0
        assert {"PORT=8123", "METRICS_PORT=9123"} <= set(out.splitlines())

    @pytest.mark.criterion("S2")
    def test_masks_secrets(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("API_TOKEN", CANARY)

        _, out = run("config")

        assert CANARY not in out
        assert f"API_TOKEN={configuration.MASK}" in out.splitlines()

    @pytest.mark.criterion("S4")
    @pytest.mark.parametrize(("arguments", "file"), [([], ".env.example"), (["other"], "other")])
    def test_writes_the_example(self, run: Run, arguments: list[str], file: str) -> None:
        assert run("config", "--example", *arguments) == (0, "")
        assert Path(file).read_text("utf-8") == example(Settings)

    @pytest.mark.criterion("S4")
    def test_prints_the_example(self, run: Run) -> None:
        assert run("config", "--example", "-") == (0, example(Settings))

    def test_writes_the_example_without_a_valid_configuration(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ENVIRONMENT", "qa")

        assert run("config", "--example", "-")[0] == 0


@pytest.mark.criterion("S5")
class TestServe:
    @pytest.mark.parametrize("arguments", [[], ["serve"]])
    def test_is_what_happens_without_a_command(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
    ) -> None:
        served: list[Any] = []

        def serve(app: FastAPI, settings: ChassisSettings) -> int:
            served.extend((app.title, settings.host))
            return 143

        monkeypatch.setattr(server, "serve", serve)
        monkeypatch.setenv("HOST", "127.0.0.1")

        code, out = run(*arguments, create_app=f"{__name__}:create_app")

        assert (code, out) == (143, "")
        assert served == ["127.0.0.1", "127.0.0.1"]

    @pytest.mark.criterion("L1", "L5")
    def test_an_application_that_cannot_be_made_is_one_line_and_exit_1(self, run: Run) -> None:
        code, out = run(create_app=f"{__name__}:fail")

        (line,) = out.splitlines()
        entry = json.loads(line)
        assert code == 1
        assert (entry["level"], entry["message"]) == ("CRITICAL", "program_failed")
        assert entry["service"] == service.read().name
        assert entry["exception"]["message"] == "no application today"

    @pytest.mark.criterion("L2")
    def test_logs_as_it_is_told(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        def serve(app: FastAPI, settings: ChassisSettings) -> int:
            logging.getLogger("quiet").info("not written")
            logging.getLogger("loud").warning("written")
            return 0

        monkeypatch.setattr(server, "serve", serve)
        monkeypatch.setenv("LOG_LEVEL", "WARNING")
        monkeypatch.setenv("LOG_FORMAT", "console")

        _, out = run(create_app=f"{__name__}:create_app")

        assert "not written" not in out
        assert "written" in out
        assert not out.startswith("{")


@pytest.mark.criterion("S5")
class TestMigrate:
    @pytest.fixture
    def database(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[[types.ModuleType | None], None]:
        """Let the chassis have this database module, or none."""
        find = importlib.util.find_spec

        def install(module: types.ModuleType | None) -> None:
            def find_spec(name: str, package: str | None = None) -> object:
                return module if name == "chassis.database" else find(name, package)

            monkeypatch.setattr(importlib.util, "find_spec", find_spec)
            monkeypatch.setitem(sys.modules, "chassis.database", module)

        return install

    def test_has_nothing_to_do_without_a_database(
        self, run: Run, database: Callable[[types.ModuleType | None], None]
    ) -> None:
        database(None)

        code, out = run("migrate")

        assert code == 0
        assert json.loads(out)["message"] == "nothing_to_migrate"

    def test_applies_the_migrations_of_the_database(
        self, run: Run, database: Callable[[types.ModuleType | None], None]
    ) -> None:
        migrated: list[int] = []
        module = types.ModuleType("chassis.database")
        module.__dict__["migrate"] = lambda settings: migrated.append(settings.port)
        database(module)

        code, out = run("migrate")

        assert code == 0
        assert json.loads(out)["message"] == "migrated"
        assert migrated == [service.read().port]


@pytest.mark.parametrize(
    ("program", "called"),
    [("/service/src/app/__main__.py", "python -m app"), ("serve.py", "python serve.py")],
)
def test_help_names_the_program_as_it_was_called(
    program: str,
    called: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [program])
    with pytest.raises(SystemExit, match="0"):
        cli.main(SETTINGS, NOT_THERE, ["--help"])
    assert capsys.readouterr().out.startswith(f"usage: {called} ")


def test_other_commands_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        cli.main(SETTINGS, NOT_THERE, ["destroy"])

    assert refused.value.code == 2
    assert "destroy" in capsys.readouterr().err
