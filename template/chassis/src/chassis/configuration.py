"""Improvement 8, at work: settings are read, with all problems in one error, and shown without secrets.

The model itself is in `chassis.settings`.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, SecretStr, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_settings import SettingsError

from chassis import propagators
from chassis.redaction import conceals, redact_text
from chassis.service import read, snake_case
from chassis.settings import ChassisSettings, HttpUrl

SECRETS_DIRECTORY = Path("/run/secrets")
MASK = "**********"

# What the OpenTelemetry SDK reads by itself, in whole names and values; at anything else it would fail, or forget it.
_OTEL_VARIABLES = (
    (
        r"OTEL_((SPAN|EVENT|LINK)_)?ATTRIBUTE_COUNT_LIMIT|OTEL_SPAN_(EVENT|LINK)_COUNT_LIMIT"
        r"|OTEL_(SPAN_)?ATTRIBUTE_VALUE_LENGTH_LIMIT",
        r"\d*",
        "must be a whole number",
    ),
    (r"OTEL_BSP_\w+", r"(0*[1-9]\d*)?", "must be a whole number above 0"),
    (
        r"OTEL_EXPORTER_OTLP_(TRACES_)?TIMEOUT",
        r"(?=.*[1-9])(\d+\.?\d*|\.\d+)",
        "must be a number of seconds above 0",
    ),
    (r"OTEL_EXPORTER_OTLP_(TRACES_)?COMPRESSION", r"(?i:gzip)", "must be gzip, or not be set"),
)

S = TypeVar("S", bound=ChassisSettings)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with the configuration."""

    variable: str
    message: str


class ConfigurationError(Exception):
    """The configuration cannot be used; `problems` names every variable that has to change."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{p.variable}: {p.message}" for p in problems))


def with_dependencies(settings_type: type[S]) -> type[S]:
    """Add the `<DEPENDENCY>_URL` field of every declared dependency to `settings_type`."""
    fields: dict[str, Any] = {
        f"{snake_case(name)}_url": (
            HttpUrl,
            Field(f"http://{name}:{port}", description=f"Base URL of {name}"),
        )
        for name, port in read().dependencies.items()
    }
    return create_model(settings_type.__name__, __base__=settings_type, **fields)


def load(settings_type: type[S], **overrides: Any) -> S:
    """Read the configuration.

    Args:
        settings_type: the service's settings.
        overrides: field values that go before the environment, for tests; `_env_file=None` leaves
            `.env` alone.

    Raises:
        ConfigurationError: with all problems; no message holds a value.
    """
    if SECRETS_DIRECTORY.is_dir():
        overrides.setdefault("_secrets_dir", SECRETS_DIRECTORY)
    problems = [*_otel_problems()]
    try:
        settings = with_dependencies(settings_type)(**overrides)
    except ValidationError as error:
        problems += _problems(error)
    except SettingsError as error:
        problems.append(Problem("configuration", redact_text(str(error))))
    except (OSError, UnicodeError) as error:
        message = f"`.env` or {SECRETS_DIRECTORY} cannot be read: {type(error).__name__}"
        problems.append(Problem("configuration", message))
    if problems:
        raise ConfigurationError(tuple(problems)) from None
    return settings


def _otel_problems() -> Iterator[Problem]:
    for name, value in os.environ.items():
        for names, values, message in _OTEL_VARIABLES:
            if re.fullmatch(names, name) and not re.fullmatch(values, value.strip()):
                yield Problem(name, message)
    if not propagators.choose():
        yield Problem(propagators.VARIABLE, "must be names of propagators that are installed")


def _problems(error: ValidationError) -> Iterator[Problem]:
    for entry in error.errors(include_url=False, include_input=False):
        variable = str(entry["loc"][0]).upper() if entry["loc"] else "configuration"
        yield Problem(variable, entry["msg"].removeprefix("Value error, "))


def effective(settings: ChassisSettings) -> Iterator[tuple[str, str]]:
    """Yield every variable and its effective value, secrets masked."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        yield name.upper(), MASK if conceals(name, value) else _text(value)


def example(settings_type: type[ChassisSettings]) -> str:
    """Return `.env.example`: every variable with its meaning and default."""
    blocks = (
        "# Every variable with its default; made by `python -m app config --example`.",
        *(
            f"# {field.description}\n{_assignment(name.upper(), field)}"
            for name, field in with_dependencies(settings_type).model_fields.items()
        ),
    )
    return "\n\n".join(blocks) + "\n"


def _assignment(variable: str, field: FieldInfo) -> str:
    if field.default_factory is not None or field.default is None:
        return f"# {variable}="
    return f"{variable}={_text(field.default)}".rstrip()


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, frozenset)):
        items = [_text(item) for item in value]
        return ",".join(sorted(items) if isinstance(value, frozenset) else items)
    return redact_text(str(value).removesuffix(".0") if isinstance(value, float) else str(value))
