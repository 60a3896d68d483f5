"""What this service is called and whom it talks to: the questionnaire's answers, as data.

The answers live in `service.toml`, the only file of this package that the template renders. A
changed answer therefore arrives by `copier update` and no Python file has to differ between two
services.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata, resources


@dataclass(frozen=True, slots=True)
class Service:
    """The answers that the chassis needs at run time."""

    name: str
    description: str
    port: int
    version: str
    template_version: str
    staging_origins: tuple[str, ...]
    dependencies: Mapping[str, int]

    @property
    def metric_prefix(self) -> str:
        return snake_case(self.name)


def snake_case(name: str) -> str:
    """Turn a service name into what metrics and variables allow (`auth-service` → `auth_service`)."""
    return name.replace("-", "_")


def read() -> Service:
    """Read the rendered answers and the installed version of the service."""
    answers = tomllib.loads(resources.files("chassis").joinpath("service.toml").read_text("utf-8"))
    return Service(
        name=answers["name"],
        description=answers["description"],
        port=answers["port"],
        version=_installed_version(answers["name"]),
        template_version=answers["template_version"],
        staging_origins=tuple(answers["staging_origins"]),
        dependencies=answers["dependencies"],
    )


def _installed_version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "0.0.0"
