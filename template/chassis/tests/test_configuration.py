"""S1, S2, S4, S5: where settings come from, how they are refused and how they are shown."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field, SecretStr

from chassis import configuration, service
from chassis import settings as model
from chassis.configuration import ConfigurationError, effective, example, load
from chassis.settings import ChassisSettings, HttpUrl, RequiredWhenDeployed

SECRET = "hunter2-of-the-canary"


class Settings(ChassisSettings):
    store_url: Annotated[SecretStr | None, RequiredWhenDeployed] = Field(
        None, description="Where things are stored"
    )
    api_token: SecretStr | None = Field(None, description="Token of another service")
    signing_key: str | None = Field(None, description="Not declared as a secret, but one by name")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no secrets directory of this machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(configuration, "SECRETS_DIRECTORY", tmp_path / "secrets")
    return tmp_path


@pytest.fixture
def secrets(home: Path) -> Path:
    directory = home / "secrets"
    directory.mkdir()
    return directory


@pytest.fixture
def two_dependencies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that calls two others, whatever this one's answers are."""
    dependencies = {"auth-service": 8002, "billing": 9000}
    facts = dataclasses.replace(service.read(), dependencies=dependencies)
    monkeypatch.setattr(configuration, "read", lambda: facts)
    monkeypatch.setattr(model, "read", lambda: facts)


@pytest.fixture
def problems() -> Callable[[], dict[str, str]]:
    def found() -> dict[str, str]:
        with pytest.raises(ConfigurationError) as refused:
            load(Settings)
        return {problem.variable: problem.message for problem in refused.value.problems}

    return found


@pytest.mark.criterion("S1")
class TestEnvFile:
    def test_is_read(self, home: Path) -> None:
        (home / ".env").write_text("PORT=8123\nAPI_TOKEN='of the file'\n", "utf-8")

        settings = load(Settings)

        assert settings.port == 8123
        assert settings.api_token == SecretStr("of the file")

    def test_comes_after_the_environment(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (home / ".env").write_text("PORT=8123\n", "utf-8")
        monkeypatch.setenv("PORT", "8124")

        assert load(Settings).port == 8124

    def test_unknown_keys_are_ignored(self, home: Path) -> None:
        (home / ".env").write_text("COMPOSE_PROJECT_NAME=x\nUNKNOWN=1\n", "utf-8")

        assert load(Settings).port == service.read().port

    def test_unknown_values_of_known_keys_are_refused(
        self, home: Path, problems: Callable[[], dict[str, str]]
    ) -> None:
        (home / ".env").write_text("ENVIRONMENT=qa\nUNKNOWN=1\n", "utf-8")

        assert list(problems()) == ["ENVIRONMENT"]

    @pytest.mark.criterion("S3")
    def test_that_is_no_text_is_a_problem_and_no_crash(
        self, home: Path, problems: Callable[[], dict[str, str]]
    ) -> None:
        (home / ".env").write_bytes(b"API_TOKEN=\xff" + SECRET.encode())

        assert "cannot be read" in problems()["configuration"]
        assert SECRET not in problems()["configuration"]


@pytest.mark.criterion("S2")
class TestSecretsDirectory:
    def test_has_one_file_per_variable(self, secrets: Path) -> None:
        (secrets / "api_token").write_text(f"{SECRET}\n", "utf-8")
        (secrets / "PORT").write_text("8123", "utf-8")
        (secrets / "unknown").write_text("ignored", "utf-8")

        settings = load(Settings)

        assert settings.api_token == SecretStr(SECRET)
        assert settings.port == 8123

    def test_comes_after_the_environment(
        self, secrets: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (secrets / "api_token").write_text("of the file", "utf-8")
        monkeypatch.setenv("API_TOKEN", "of the environment")

        assert load(Settings).api_token == SecretStr("of the environment")

    def test_serves_what_deployment_requires(
        self, secrets: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (secrets / "store_url").write_text("redis://:hunter2@store", "utf-8")
        monkeypatch.setenv("ENVIRONMENT", "production")
        monkeypatch.setenv("ALLOWED_ORIGINS", "https://app.example.com")

        assert load(Settings).store_url == SecretStr("redis://:hunter2@store")

    @pytest.mark.criterion("S3")
    def test_names_the_file_that_is_no_text_and_all_other_problems(
        self,
        secrets: Path,
        monkeypatch: pytest.MonkeyPatch,
        problems: Callable[[], dict[str, str]],
    ) -> None:
        (secrets / "api_token").write_bytes(b"\xff" + SECRET.encode())
        (secrets / "MAX_BODY_BYTES").write_bytes(b"\xff")
        monkeypatch.setenv("PORT", "none")

        found = problems()

        assert sorted(found) == ["API_TOKEN", "MAX_BODY_BYTES", "PORT"]
        assert found["API_TOKEN"] == "its file in the secrets directory cannot be read as text"
        assert SECRET not in str(found)

    def test_need_not_exist(self) -> None:
        assert load(Settings).api_token is None


@pytest.mark.criterion("S3")
class TestProblems:
    def test_all_are_named_those_across_fields_too(
        self, monkeypatch: pytest.MonkeyPatch, problems: Callable[[], dict[str, str]]
    ) -> None:
        for name, value in {
            "ENVIRONMENT": "production",
            "PORT": "8000",
            "METRICS_PORT": "8000",
            "LOG_FORMAT": "console",
            "REQUEST_TIMEOUT": "never",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        }.items():
            monkeypatch.setenv(name, value)

        assert sorted(problems()) == [
            "ALLOWED_ORIGINS",
            "LOG_FORMAT",
            "METRICS_PORT",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "REQUEST_TIMEOUT",
            "STORE_URL",
        ]

    def test_a_wrong_environment_is_one_problem(
        self, monkeypatch: pytest.MonkeyPatch, problems: Callable[[], dict[str, str]]
    ) -> None:
        monkeypatch.setenv("ENVIRONMENT", "qa")

        assert list(problems()) == ["ENVIRONMENT"]

    def test_the_message_names_each_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PORT", "none")
        monkeypatch.setenv("LOG_LEVEL", "LOUD")

        with pytest.raises(ConfigurationError, match=r"PORT: .*; LOG_LEVEL: ") as refused:
            load(Settings)

        assert refused.value.__suppress_context__

    def test_a_list_of_the_service_that_is_no_json_is_one(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class WithList(ChassisSettings):
            regions: list[str] = Field([], description="JSON list")

        monkeypatch.setenv("REGIONS", f"{SECRET},b")

        with pytest.raises(ConfigurationError, match="regions") as refused:
            load(WithList)

        assert SECRET not in str(refused.value)


@pytest.mark.usefixtures("two_dependencies")
class TestDependencies:
    def test_have_a_variable_each(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AUTH_SERVICE_URL", "https://auth.example.com/base/")

        assert load(Settings).dependency_urls == {
            "auth-service": "https://auth.example.com/base",
            "billing": "http://billing:9000",
        }

    @pytest.mark.criterion("S2", "S3")
    def test_with_a_wrong_url_are_named(
        self, monkeypatch: pytest.MonkeyPatch, problems: Callable[[], dict[str, str]]
    ) -> None:
        for url in (
            "billing:{}",
            "http://u:{}\\@b",
            "http://u:{}\uff05@b",
            "http://u:{}@b..svc",
            "http://u:{}@xn--a",
        ):
            monkeypatch.setenv("BILLING_URL", url.format(SECRET))

            assert list(problems()) == ["BILLING_URL"]
            assert SECRET not in problems()["BILLING_URL"]

    def test_may_have_an_international_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BILLING_URL", "http://xn--strae-oqa.example")

        assert load(Settings).dependency_urls["billing"] == "http://xn--strae-oqa.example"

    @pytest.mark.criterion("S4", "S5")
    def test_may_be_called_like_a_secret(self, monkeypatch: pytest.MonkeyPatch) -> None:
        facts = dataclasses.replace(service.read(), dependencies={"token-service": 8080})
        monkeypatch.setattr(configuration, "read", lambda: facts)

        assert "\nTOKEN_SERVICE_URL=http://token-service:8080\n" in example(Settings)
        shown = dict(effective(load(Settings)))
        assert shown["TOKEN_SERVICE_URL"] == "http://token-service:8080"

    @pytest.mark.criterion("S4")
    def test_stand_in_the_example(self) -> None:
        assert "# Base URL of billing\nBILLING_URL=http://billing:9000\n" in example(Settings)


@pytest.mark.criterion("S2", "S5")
class TestEffective:
    def test_shows_every_variable(self) -> None:
        settings = load(Settings)

        shown = dict(effective(settings))

        assert list(shown) == [name.upper() for name in type(settings).model_fields]
        assert shown["ENVIRONMENT"] == "development"
        assert shown["METRICS_PORT"] == str(service.read().port + 1000)
        assert shown["ALLOWED_ORIGINS"] == "http://localhost:3000,http://localhost:8080"
        assert shown["REQUEST_TIMEOUT"] == "30"
        assert shown["OTEL_SDK_DISABLED"] == "false"
        assert shown["STORE_URL"] == ""

    def test_masks_secrets(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("STORE_URL", "API_TOKEN", "SIGNING_KEY", "OTEL_EXPORTER_OTLP_HEADERS"):
            monkeypatch.setenv(name, SECRET)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://user:{SECRET}@collector:4317")

        shown = dict(effective(load(Settings)))

        assert SECRET not in str(shown)
        assert shown["STORE_URL"] == shown["SIGNING_KEY"] == configuration.MASK
        assert shown["OTEL_EXPORTER_OTLP_ENDPOINT"].endswith("@collector:4317")

    def test_can_be_read_back(self, home: Path) -> None:
        before = dict(
            effective(load(Settings, max_body_bytes=123_456_789, drain_seconds=0.1234567))
        )
        (home / ".env").write_text("\n".join(f"{k}={v}" for k, v in before.items()), "utf-8")

        assert (before["MAX_BODY_BYTES"], before["DRAIN_SECONDS"]) == ("123456789", "0.1234567")
        assert dict(effective(load(Settings))) == before


@pytest.mark.criterion("S4")
class TestExample:
    def test_has_every_variable_with_default_and_meaning(self) -> None:
        text = example(Settings)

        assert "# Seconds a request may take; then 503\nREQUEST_TIMEOUT=30\n" in text
        assert "# Where things are stored\n# STORE_URL=\n" in text
        for name, field in Settings.model_fields.items():
            assert f"# {field.description}\n" in text
            assert f"{name.upper()}=" in text

    def test_changes_nothing_when_it_is_used(self, home: Path) -> None:
        before = load(Settings).model_dump()
        (home / ".env").write_text(example(Settings), "utf-8")

        assert load(Settings).model_dump() == before

    def test_does_not_depend_on_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before = example(Settings)
        monkeypatch.setenv("PORT", "8123")
        monkeypatch.setenv("API_TOKEN", SECRET)

        assert example(Settings) == before


class Lists(ChassisSettings):
    peers: tuple[HttpUrl, ...] = Field(("http://u:hunter2@a", "http://b"), description="URLs")
    numbers: tuple[int, ...] = Field((1, 2), description="Numbers")
    tokens_of_peers: tuple[SecretStr, ...] = Field((SecretStr(SECRET),), description="Secrets")


@pytest.mark.criterion("S2", "S5")
def test_lists_are_shown_item_by_item() -> None:
    shown = dict(effective(load(Lists)))
    assert shown["PEERS"] == "http://***@a,http://b"
    assert shown["NUMBERS"] == "1,2"
    assert SECRET not in example(Lists)
    assert "hunter2" not in example(Lists)


@pytest.mark.criterion("S2")
def test_an_empty_variable_gives_way_to_a_secret(
    secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compose's `API_TOKEN: ${API_TOKEN:-}` beside a secret of that name."""
    (secrets / "api_token").write_text(SECRET)
    monkeypatch.setenv("API_TOKEN", "")
    token = load(Settings).api_token
    assert token is not None
    assert token.get_secret_value() == SECRET
