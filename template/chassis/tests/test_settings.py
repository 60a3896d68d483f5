"""S1, S3, C1: the model of the configuration, variable by variable."""

from collections.abc import Callable
from typing import Annotated, Any

import pytest
from pydantic import SecretStr, ValidationError

from chassis import service
from chassis.configuration import ConfigurationError, load
from chassis.settings import ChassisSettings, Environment, RequiredWhenDeployed

FromEnvironment = Callable[..., "Settings"]
Problems = Callable[..., dict[str, str]]
ORIGIN = "https://app.example.com"
DEPLOYED = pytest.mark.parametrize("environment", ["staging", "production"])


class Settings(ChassisSettings):
    api_token: Annotated[SecretStr | None, RequiredWhenDeployed] = None


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> FromEnvironment:
    """Settings as these environment variables make them."""

    def from_environment(**variables: str) -> Settings:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return load(Settings, _env_file=None)

    return from_environment


@pytest.fixture
def problems(read: FromEnvironment) -> Problems:
    """What is wrong with these environment variables."""

    def of(**variables: str) -> dict[str, str]:
        with pytest.raises(ConfigurationError) as refused:
            read(**variables)
        return {problem.variable: problem.message for problem in refused.value.problems}

    return of


class TestDefaults:
    def test_the_contract_names_them(self, read: FromEnvironment) -> None:
        settings = read()

        assert settings.environment is Environment.DEVELOPMENT
        assert (settings.host, settings.port) == ("0.0.0.0", service.read().port)
        assert settings.metrics_port == service.read().port + 1000
        assert (settings.log_level, settings.log_format) == ("INFO", "json")
        assert (settings.request_timeout, settings.max_body_bytes) == (30, 1_048_576)
        assert settings.readiness_critical == {"database"}
        assert settings.trusted_proxies == ()
        assert (settings.drain_seconds, settings.graceful_timeout) == (5, 20)
        assert not settings.otel_sdk_disabled
        assert settings.otel_exporter_otlp_endpoint is None

    def test_dependencies_are_called_by_name_and_port(self, make_settings: Any) -> None:
        expected = {n: f"http://{n}:{p}" for n, p in service.read().dependencies.items()}

        assert make_settings().dependency_urls == expected

    @pytest.mark.criterion("C1")
    def test_development_allows_two_local_origins(self, read: FromEnvironment) -> None:
        assert read().allowed_origins == ("http://localhost:3000", "http://localhost:8080")


@pytest.mark.criterion("S1")
class TestModel:
    def test_is_frozen(self, read: FromEnvironment) -> None:
        settings = read()

        with pytest.raises(ValidationError, match="frozen"):
            settings.port = 1

    def test_reads_variables_in_any_case(self, read: FromEnvironment) -> None:
        assert read(port="8123", LOG_LEVEL="debug").port == 8123
        assert read().log_level == "DEBUG"

    def test_describes_every_variable(self) -> None:
        assert [n for n, f in ChassisSettings.model_fields.items() if not f.description] == []


@pytest.mark.criterion("S3")
class TestValues:
    @pytest.mark.parametrize(
        ("variable", "value"),
        [
            ("ENVIRONMENT", "prod"),
            ("ENVIRONMENT", "Production"),
            ("PORT", "http"),
            ("PORT", "-1"),
            ("PORT", "65536"),
            ("METRICS_PORT", "65536"),
            ("LOG_LEVEL", "VERBOSE"),
            ("LOG_FORMAT", "text"),
            ("REQUEST_TIMEOUT", "0"),
            ("REQUEST_TIMEOUT", "inf"),
            ("REQUEST_TIMEOUT", "nan"),
            ("MAX_BODY_BYTES", "0"),
            ("MAX_BODY_BYTES", "1.5"),
            ("READINESS_CRITICAL", "database,queue"),
            ("TRUSTED_PROXIES", "10.0.0.0/8,proxy.example.com"),
            ("DRAIN_SECONDS", "-1"),
            ("DRAIN_SECONDS", "nan"),
            ("GRACEFUL_TIMEOUT", "-1"),
            ("OTEL_SDK_DISABLED", "perhaps"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_TRACES_SAMPLER_ARG", "1.1"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://collector"),
        ],
    )
    def test_wrong_ones_are_refused(self, problems: Problems, variable: str, value: str) -> None:
        assert list(problems(**{variable: value})) == [variable]

    @pytest.mark.criterion("T2")
    @pytest.mark.parametrize("protocol", ["http/protobuf", "http/json"])
    @pytest.mark.parametrize(
        "variable", ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"]
    )
    def test_only_grpc_is_spoken(self, problems: Problems, variable: str, protocol: str) -> None:
        assert problems(**{variable: protocol}) == {variable: "Input should be 'grpc'"}

    @pytest.mark.criterion("L1")
    def test_console_is_not_for_production(self, read: FromEnvironment, problems: Problems) -> None:
        assert read(LOG_FORMAT="console").log_format == "console"
        rest = {"ALLOWED_ORIGINS": ORIGIN, "API_TOKEN": "t"}
        assert list(problems(ENVIRONMENT="production", **rest)) == ["LOG_FORMAT"]

    def test_an_empty_variable_is_one_that_nobody_filled_in(self, read: FromEnvironment) -> None:
        defaults = read()

        settings = read(
            **{name.upper(): "" for name in Settings.model_fields if name != "allowed_origins"}
        )

        assert settings.model_dump() == defaults.model_dump()

    @DEPLOYED
    def test_an_empty_required_one_is_missing(self, problems: Problems, environment: str) -> None:
        given = {"ENVIRONMENT": environment, "ALLOWED_ORIGINS": ORIGIN, "API_TOKEN": ""}

        assert problems(**given) == {"API_TOKEN": f"is required when ENVIRONMENT is {environment}"}


class TestMetricsPort:
    def test_is_1000_above_the_port(self, read: FromEnvironment) -> None:
        assert read(PORT="8123").metrics_port == 9123

    def test_is_free_when_the_port_is(self, read: FromEnvironment) -> None:
        assert read(PORT="0").metrics_port == 0
        assert read(PORT="0", METRICS_PORT="0").metrics_port == 0

    def test_can_be_set(self, read: FromEnvironment) -> None:
        assert read(METRICS_PORT="9090").metrics_port == 9090

    @pytest.mark.criterion("M6", "S3")
    def test_is_never_the_port(self, problems: Problems) -> None:
        found = problems(PORT="8123", METRICS_PORT="8123")

        assert list(found) == ["METRICS_PORT"]
        assert "must differ from PORT" in found["METRICS_PORT"]

    @pytest.mark.criterion("S3")
    def test_a_wrong_port_is_one_problem(self, problems: Problems) -> None:
        assert list(problems(PORT="none")) == ["PORT"]

    @pytest.mark.criterion("S3")
    def test_a_port_without_room_above_it_needs_another(
        self, read: FromEnvironment, problems: Problems
    ) -> None:
        assert list(problems(PORT="65000")) == ["METRICS_PORT"]
        assert read(PORT="65000", METRICS_PORT="9090").port == 65000


class TestLists:
    @pytest.mark.parametrize(
        "value",
        [
            "https://a.example,https://b.example",
            " https://a.example , https://b.example ,",
            '["https://a.example","https://b.example"]',
            ' ["https://A.example", "https://b.example:443"]',
            "https://a.example,https://b.example,https://a.example",
        ],
    )
    def test_are_separated_by_commas_or_json(self, read: FromEnvironment, value: str) -> None:
        settings = read(ALLOWED_ORIGINS=value)

        assert settings.allowed_origins == ("https://a.example", "https://b.example")

    @pytest.mark.criterion("S3")
    @pytest.mark.parametrize("value", ["[", '["https://a.example"', "[1]", '[["a"]]', "[null]"])
    def test_are_refused_when_they_are_neither(self, problems: Problems, value: str) -> None:
        assert list(problems(ALLOWED_ORIGINS=value)) == ["ALLOWED_ORIGINS"]

    def test_of_every_kind(self, read: FromEnvironment) -> None:
        settings = read(READINESS_CRITICAL="database,cache", TRUSTED_PROXIES="10.0.0.0/8,::1")

        assert settings.readiness_critical == {"database", "cache"}
        assert settings.trusted_proxies == ("10.0.0.0/8", "::1")

    def test_a_network_is_its_first_address_as_the_server_wants_it(
        self, read: FromEnvironment
    ) -> None:
        settings = read(TRUSTED_PROXIES="10.1.2.3/8,10.9.9.9")

        assert settings.trusted_proxies == ("10.0.0.0/8", "10.9.9.9")

    def test_no_check_is_critical_when_the_list_says_so(self, read: FromEnvironment) -> None:
        assert read(READINESS_CRITICAL="[]").readiness_critical == frozenset()


@pytest.mark.criterion("C1", "C2")
class TestOrigins:
    @DEPLOYED
    @pytest.mark.parametrize(
        "value", ["", "[]", "*", "null", "http://app.example.com", "https://localhost:3000"]
    )
    def test_deployed_ones_are_explicit(
        self, problems: Problems, environment: str, value: str
    ) -> None:
        found = problems(ENVIRONMENT=environment, ALLOWED_ORIGINS=value, API_TOKEN="t")

        assert list(found) == ["ALLOWED_ORIGINS"]
        assert ORIGIN in found["ALLOWED_ORIGINS"]

    def test_one_bad_origin_is_enough(self, problems: Problems) -> None:
        assert list(problems(ALLOWED_ORIGINS=f"{ORIGIN},{ORIGIN}/")) == ["ALLOWED_ORIGINS"]

    def test_staging_has_those_of_the_questionnaire(self, read: FromEnvironment) -> None:
        origins = service.read().staging_origins
        settings = read(ENVIRONMENT="staging", API_TOKEN="t")

        assert settings.allowed_origins == origins

    def test_production_has_none_in_code(self, problems: Problems) -> None:
        assert list(problems(ENVIRONMENT="production", API_TOKEN="t")) == ["ALLOWED_ORIGINS"]

    def test_development_may_have_none(self, read: FromEnvironment) -> None:
        assert read(ALLOWED_ORIGINS="").allowed_origins == ()

    def test_development_refuses_the_star_too(self, problems: Problems) -> None:
        assert list(problems(ALLOWED_ORIGINS="*")) == ["ALLOWED_ORIGINS"]


class TestUrls:
    def test_lose_their_last_slash(self, read: FromEnvironment) -> None:
        settings = read(OTEL_EXPORTER_OTLP_ENDPOINT="http://collector:4317/")

        assert settings.otel_exporter_otlp_endpoint == "http://collector:4317"

    @pytest.mark.criterion("S2", "S3")
    @pytest.mark.parametrize(
        "url",
        [
            "collector:4317",
            "http://",
            "http://user:hunter2@collector:port",
            "http://user:hunter2@collector:65536",
            "http://user:hunter2@exa\N{ACCOUNT OF}mple.com",
            "http://user:hunter2@[collector",
            "http://collector/?token=hunter2",
            "http://collector/#hunter2",
        ],
    )
    def test_that_are_wrong_are_not_repeated(self, problems: Problems, url: str) -> None:
        assert problems(OTEL_EXPORTER_OTLP_ENDPOINT=url) == {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "must be an http or https URL, "
            "for example http://auth-service:8002"
        }
