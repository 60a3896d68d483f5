"""C2: an origin is scheme, host and optional port, and outside development https and not local."""

import pytest

from chassis import service
from chassis.origins import EXAMPLE, normalise

pytestmark = pytest.mark.criterion("C2")


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("https://app.example.com", "https://app.example.com"),
        ("HTTPS://App.Example.COM", "https://app.example.com"),
        ("  https://app.example.com ", "https://app.example.com"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("https://app.example.com:0443", "https://app.example.com"),
        ("https://app.example.com:8443", "https://app.example.com:8443"),
        ("https://app.example.com:80", "https://app.example.com:80"),
        ("https://192.0.2.1", "https://192.0.2.1"),
        ("https://[2001:DB8::1]", "https://[2001:db8::1]"),
        ("https://[2001:db8::1]:443", "https://[2001:db8::1]"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ("https://localhost.example.com", "https://localhost.example.com"),
    ],
)
@pytest.mark.parametrize("deployed", [True, False])
def test_stored_in_lower_case_and_without_the_default_port(
    given: str, stored: str, deployed: bool
) -> None:
    assert normalise(given, deployed=deployed) == stored


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "*",
        "null",
        "app.example.com",
        "//app.example.com",
        "ftp://app.example.com",
        "https://",
        "https:app.example.com",
        "https://app.example.com/",
        "https://app.example.com/path",
        "https://app.example.com?query",
        "https://app.example.com#fragment",
        "https://user:hunter2@app.example.com",
        "https://*.example.com",
        "https://app.example.com:",
        "https://app.example.com:port",
        "https://app.example.com:65536",
        "https://app.example.com:0",
        "https://app..example.com",
        "https://app.-example.com",
        "https://app.example.com:123456",
        "https://app.example.com.",
        "https://-app.example.com",
        "https://app example.com",
        "https://app.example.com https://b.example.com",
        "https://äpp.example.com",
        "https://[:::1]",
        "https://[2001:db8::1",
        "https://2001:db8::1",
    ],
)
@pytest.mark.parametrize("deployed", [True, False])
def test_refused_everywhere(origin: str, deployed: bool) -> None:

    with pytest.raises(ValueError, match="origin") as refused:
        normalise(origin, deployed=deployed)

    assert EXAMPLE in str(refused.value)
    assert "hunter2" not in str(refused.value)


LOCAL_OR_PLAIN = [
    "http://app.example.com",
    "https://localhost",
    "https://LOCALHOST:3000",
    "https://app.localhost",
    "https://127.0.0.1",
    "https://127.1.2.3:8443",
    "https://[::1]",
    "https://[::1]:3000",
    "https://0.0.0.0",
]


@pytest.mark.parametrize("origin", LOCAL_OR_PLAIN)
def test_refused_outside_development_only(origin: str) -> None:
    assert normalise(origin, deployed=False) == origin.lower()
    with pytest.raises(ValueError, match="https and not localhost"):
        normalise(origin, deployed=True)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:443", "http://localhost:443"),
        ("http://[::1]", "http://[::1]"),
    ],
)
def test_default_ports_belong_to_their_scheme(given: str, stored: str) -> None:
    assert normalise(given, deployed=False) == stored


def test_the_answers_keep_the_rules_of_the_program() -> None:
    answers = service.read().staging_origins

    assert [normalise(origin, deployed=True) for origin in answers] == list(answers)
