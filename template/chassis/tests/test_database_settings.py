"""S2 and S3: which databases a service takes, and how it says no to others."""

from typing import Any

import pytest

from chassis import database as module
from chassis.configuration import ConfigurationError, load
from chassis.database import DatabaseSettings


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in DatabaseSettings.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)


def settings(**overrides: Any) -> DatabaseSettings:
    return load(DatabaseSettings, _env_file=None, **overrides)


@pytest.mark.parametrize(
    "given",
    [
        "postgres://user:p%40ss@db:5432/name?sslmode=require",
        "postgresql://user:p%40ss@db:5432/name?sslmode=require",
        "postgresql+asyncpg://user:p%40ss@db:5432/name?sslmode=require",
        "postgresql://user:p%40ss@db:5432/name?sslmode=require\n",
    ],
)
def test_the_ways_to_write_a_postgresql_url_mean_the_same(given: str) -> None:
    url = settings(database_url=given).database_url
    assert url is not None
    expected = "postgresql+asyncpg://user:p%40ss@db:5432/name?sslmode=require"
    assert url.get_secret_value() == expected


@pytest.mark.criterion("S3")
@pytest.mark.parametrize(
    ("parameters", "advice"),
    [
        ("connect_timeout=5", "drop connect_timeout"),
        ("keepalives=1&gssencmode=disable&sslmode=require", "drop gssencmode, keepalives"),
        ("channel_binding=require", "drop channel_binding"),
        ("target_session_attrs=readwrite", "target_session_attrs must be one of any, primary"),
        ("sslmode=perhaps", "sslmode must be one of disable"),
        ("sslmode=require&sslmode=disable", "sslmode must be one of disable"),
        ("sslnegotiation=direct", "sslnegotiation=direct needs an sslmode of require"),
        ("ssl=require", "TLS is asked for by sslmode, not by ssl"),
    ],
)
def test_parameters_with_which_nobody_could_connect_are_refused_by_name(
    parameters: str, advice: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"DATABASE_URL: .*{advice}"):
        settings(database_url=f"postgresql://user:hunter2@db/name?{parameters}")


@pytest.mark.parametrize(
    "parameters",
    [
        "application_name=a&statement_timeout=5000&search_path=b",
        "options=-c%20statement_timeout%3D5000&tcp_user_timeout=3",
        "sslmode=verify-full&sslrootcert=/ca.pem&sslnegotiation=direct",
        "target_session_attrs=read-write",
    ],
)
def test_settings_of_the_server_and_parameters_of_the_driver_are_taken(parameters: str) -> None:
    url = settings(database_url=f"postgresql://user:hunter2@db/name?{parameters}").database_url
    assert url is not None
    assert set(url.get_secret_value().partition("?")[2].split("&")) == {
        parameter.replace("%20", "+").replace("/", "%2F") for parameter in parameters.split("&")
    }


def test_several_hosts_may_be_long_together() -> None:
    """libpq's way to name a primary and those that may take its place."""
    hosts = ",".join(f"database-{number}-of-a-cluster-with-a-name" for number in range(3))
    url = f"postgresql://user:secret@{hosts}:5432/name"
    assert settings(database_url=url).database_url is not None


@pytest.mark.criterion("S2")
@pytest.mark.parametrize(
    "url",
    [
        "hunter2",
        "mysql://user:hunter2@db/name",
        "postgresql://user:hunter2@db:port/name",
        "postgresql+asyncpg://user:hunter2@db/name?ssl=require",
        "postgresql://user:hunter2@db/name?sslmode=perhaps",
        "postgresql://user:hunter2@db:99999/name",
        "postgresql://user:hunter2@db..svc/name",
        "postgresql://user:hunt@er2@db:5432/name",
        "sqlite+aiosqlite://",
        "sqlite+aiosqlite:///:memory:",
        "sqlite:///hunter2.db",
    ],
)
def test_a_wrong_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        settings(database_url=url)
    assert [problem.variable for problem in refused.value.problems] == ["DATABASE_URL"]
    assert "hunter2" not in str(refused.value)
    assert "er2@db" not in str(refused.value)


@pytest.mark.criterion("S3")
@pytest.mark.parametrize("url", [None, "sqlite+aiosqlite:///app.db"])
def test_a_deployed_service_needs_postgresql(url: str | None) -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL: "):
        settings(
            database_url=url,
            environment="production",
            allowed_origins="https://app.example.com",
        )


def test_the_pool_cannot_be_larger_at_least_than_at_most() -> None:
    with pytest.raises(ConfigurationError, match="DB_POOL_MAX_SIZE: must not be smaller"):
        settings(db_pool_min_size=6, db_pool_max_size=5)


def test_development_has_a_database_in_a_file() -> None:
    assert str(module._url(settings())) == "sqlite+aiosqlite:///app.db"
