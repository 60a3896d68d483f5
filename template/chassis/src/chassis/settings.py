"""Improvement 8: configuration is one typed, frozen model, read once from the environment.

Values come from environment variables, a `.env` file and a secrets directory with one file per
variable. Optional parts of the chassis add their variables in their own modules; the service adds
its own in `app.settings`. All rules are field validators, also those across fields: pydantic runs
them for every field, so that one start names *all* problems.
"""

import ipaddress
import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from chassis import origins
from chassis.service import read, snake_case

DEVELOPMENT_ORIGINS = ("http://localhost:3000", "http://localhost:8080")
# A default that validators fill in. pydantic's own factories from other fields are not called, and
# the field not checked, as soon as any field before it is wrong: problems would come one by one.
_BY_ANOTHER_FIELD: Any = object()
_UNREADABLE: Any = object()


class Environment(StrEnum):
    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"


def is_deployed(info: ValidationInfo) -> bool:
    """Whether the (already validated) environment is staging or production."""
    return info.data.get("environment") in (Environment.STAGING, Environment.PRODUCTION)


def _required_when_deployed(value: Any, info: ValidationInfo) -> Any:
    if value is None and is_deployed(info):
        raise ValueError(f"is required when ENVIRONMENT is {info.data['environment']}")
    return value


RequiredWhenDeployed = AfterValidator(_required_when_deployed)
"""Annotates an optional field that staging and production must set."""


def split_list(value: object) -> object:
    """Accept `a,b` as well as the JSON list `["a","b"]` for a field annotated with `NoDecode`."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith("["):
        return [item.strip() for item in value.split(",") if item.strip()]
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        raise ValueError("must be a comma-separated list or a JSON list of strings") from None


def _http_url(value: str) -> str:
    problem = "must be an http or https URL, for example http://auth-service:8002"
    try:
        parts = urlsplit(value)
        _ = parts.port
        # What nobody could connect to: labels that are empty or too long, for one.
        (parts.hostname or "").encode("idna")
        # And those that begin with xn-- and are none.
        AnyHttpUrl(value)
    except ValueError:
        # Its text repeats the address, credentials included.
        raise ValueError(problem) from None
    if not value.isascii() or not value.isprintable() or " " in value or "\\" in value:
        raise ValueError(f"{problem}, everything else percent-encoded")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(problem)
    return value.rstrip("/")


HttpUrl = Annotated[str, AfterValidator(_http_url)]
Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class _Secrets(SecretsSettingsSource):
    """The secrets directory, of which a file that cannot be read is a wrong value of its variable."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        try:
            return super().get_field_value(field, field_name)
        except (OSError, UnicodeError):
            return _UNREADABLE, field_name, False


def _filled(source: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    # No origins is a statement; any other empty variable is one that nobody filled in.
    return lambda: {k: v for k, v in source().items() if v != "" or k == "allowed_origins"}


class ChassisSettings(BaseSettings):
    """The variables that every service has.

    A field's description is its comment in `.env.example`.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        env_file=".env",
        env_file_encoding="utf-8",
        hide_input_in_errors=True,
        # A dependency may be called `model-dump`, say.
        protected_namespaces=(),
        validate_default=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[Any, ...]:
        """Let an empty variable give way to the next source, as if it was not there."""
        return (
            init_settings,
            _filled(env_settings),
            _filled(dotenv_settings),
            _filled(_Secrets(settings_cls, getattr(file_secret_settings, "secrets_dir", None))),
        )

    readiness_checks: ClassVar[frozenset[str]] = frozenset({"database", "cache"})

    environment: Environment = Field(
        Environment.DEVELOPMENT, description="development, staging or production"
    )
    host: str = Field("0.0.0.0", min_length=1, description="Address to listen on")  # noqa: S104  # in a container
    port: Port = Field(
        default_factory=lambda: read().port, description="API and probes; 0 takes a free port"
    )
    metrics_port: Port = Field(
        default_factory=lambda: _BY_ANOTHER_FIELD,
        description="/metrics and nothing else; PORT + 1000 when not set",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        "INFO", description="DEBUG, INFO, WARNING, ERROR or CRITICAL"
    )
    log_format: Literal["json", "console"] = Field(
        "json", description="json, or console for people (not in production)"
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default_factory=lambda: _BY_ANOTHER_FIELD,
        description="Browser origins that may call this service, comma-separated",
    )
    request_timeout: Seconds = Field(30, description="Seconds a request may take; then 503")
    max_body_bytes: int = Field(
        1_048_576, gt=0, description="Bytes a request body may have; more is 413"
    )
    readiness_critical: Annotated[frozenset[str], NoDecode] = Field(
        frozenset({"database"}),
        description="Checks that turn readiness to 503: database, cache",
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Addresses or networks whose X-Forwarded-* headers are believed"
    )
    drain_seconds: float = Field(
        5, ge=0, le=600, description="Seconds between SIGTERM and closing the listener"
    )
    graceful_timeout: int = Field(
        20, ge=0, le=600, description="Seconds that requests in flight may take after that"
    )
    otel_sdk_disabled: bool = Field(False, description="true turns tracing off; trace ids remain")
    otel_service_name: str | None = Field(None, description="service.name of the spans")
    otel_resource_attributes: str | None = Field(
        None, description="Resource attributes: key=value,..."
    )
    otel_traces_exporter: Literal["otlp", "none"] = Field("otlp", description="otlp or none")
    otel_exporter_otlp_endpoint: HttpUrl | None = Field(
        None, description="Collector, for example http://localhost:4317; not set: no export"
    )
    otel_exporter_otlp_traces_endpoint: HttpUrl | None = Field(
        None, description="Collector for traces alone; goes before the general one"
    )
    otel_exporter_otlp_protocol: Literal["grpc"] = Field("grpc", description="grpc")
    otel_exporter_otlp_traces_protocol: Literal["grpc"] = Field("grpc", description="grpc")
    otel_exporter_otlp_headers: SecretStr | None = Field(
        None, description="Headers for the collector: key=value,..."
    )
    otel_exporter_otlp_traces_headers: SecretStr | None = Field(
        None, description="Headers for traces alone; go before the general ones"
    )
    otel_traces_sampler: Literal[
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ] = Field("parentbased_always_on", description="Standard sampler name")
    otel_traces_sampler_arg: float | None = Field(
        None, ge=0, le=1, description="Ratio for the traceidratio samplers"
    )

    @property
    def dependency_urls(self) -> Mapping[str, str]:
        """Base URL by dependency, as `<DEPENDENCY>_URL` or the questionnaire says."""
        return {name: getattr(self, f"{snake_case(name)}_url") for name in read().dependencies}

    @field_validator("*", mode="before")
    @classmethod
    def _readable(cls, value: object) -> object:
        if value is _UNREADABLE:
            raise ValueError("its file in the secrets directory cannot be read as text")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("allowed_origins", "readiness_critical", "trusted_proxies", mode="before")
    @classmethod
    def _list(cls, value: object) -> object:
        return split_list(value)

    @field_validator("metrics_port", mode="before")
    @classmethod
    def _beside_the_port(cls, value: object, info: ValidationInfo) -> object:
        port = info.data.get("port", 0)
        return port and port + 1000 if value is _BY_ANOTHER_FIELD else value

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _of_the_environment(cls, value: object, info: ValidationInfo) -> object:
        environment = info.data.get("environment")
        return _default_origins(environment) if value is _BY_ANOTHER_FIELD else value

    @field_validator("metrics_port")
    @classmethod
    def _own_port(cls, value: int, info: ValidationInfo) -> int:
        if value and value == info.data.get("port"):
            raise ValueError("must differ from PORT: metrics are not served to the API's callers")
        return value

    @field_validator("log_format")
    @classmethod
    def _json_in_production(cls, value: str, info: ValidationInfo) -> str:
        if value == "console" and info.data.get("environment") is Environment.PRODUCTION:
            raise ValueError("must be json in production")
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _explicit_origins(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        deployed = is_deployed(info)
        if deployed and not value:
            raise ValueError(
                f"must name at least one origin when ENVIRONMENT is {info.data['environment']}, "
                f"for example {origins.EXAMPLE}"
            )
        return tuple(dict.fromkeys(origins.normalise(o, deployed=deployed) for o in value))

    @field_validator("readiness_critical")
    @classmethod
    def _known_checks(cls, value: frozenset[str]) -> frozenset[str]:
        if not value <= cls.readiness_checks:
            raise ValueError(f"must be among {', '.join(sorted(cls.readiness_checks))}")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            # uvicorn trusts nobody of a network whose address is not its first: 10.1.2.3/8.
            return tuple(
                str(
                    ipaddress.ip_network(place, strict=False)
                    if "/" in place
                    else ipaddress.ip_address(place)
                )
                for place in value
            )
        except ValueError:
            raise ValueError("must be addresses or networks such as 10.0.0.0/8") from None


def _default_origins(environment: Environment | None) -> tuple[str, ...]:
    match environment:
        case Environment.DEVELOPMENT:
            return DEVELOPMENT_ORIGINS
        case Environment.STAGING:
            return read().staging_origins
        case _:
            return ()
