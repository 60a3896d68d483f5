"""L7 and S2: secrets are recognised by their key and by their look, and nothing harmless is hidden."""

import json
import sys
import time
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from chassis.encoding import JsonWriter
from chassis.redaction import MASK, MAX_TEXT, conceals, is_sensitive, redact_text

SECRET = "hunter2"


class Credentials(NamedTuple):
    user: str
    password: str


@pytest.mark.parametrize(
    "key",
    [
        *(
            "password",
            "db_password",
            "PGPASSWORD",
            "userPassword",
            "passwd",
            "pwd",
            "userPwd",
            "db-pass",
        ),
        *(
            "token",
            "access_token",
            "accessToken",
            "X-Auth-Token",
            "tokens",
            "csrftoken",
            "client_secret",
        ),
        *(
            "Authorization",
            "proxy-authorization",
            "Cookie",
            "Set-Cookie",
            "credentials",
            "basic_auth",
        ),
        *(
            "api_key",
            "apikey",
            "apiKey",
            "APIKey",
            "X-Api-Key",
            "private_key",
            "AWS_SECRET_ACCESS_KEY",
        ),
        *(
            "dsn",
            "DATABASE_DSN",
            "session",
            "session_id",
            "JSESSIONID",
            "connect.sid",
            "signature",
            "jwt",
        ),
        *("password_hash", "connection_string", "ConnectionString", "otp"),
    ],
)
def test_keys_that_hold_secrets_are_sensitive(key: str) -> None:
    """L7: in any case, with `-`, `_` or humps, alone or as part of a compound."""
    assert is_sensitive(key)


@pytest.mark.parametrize(
    "key",
    [
        *("path", "user_agent", "monkey", "keyboard", "compass", "bypass", "passenger", "spinning"),
        *(
            "friends_name",
            "handsnap",
            "residual",
            "design",
            "author",
            "authority",
            "secretary",
            "tokenizer",
        ),
        *(
            "token_count",
            "token_type",
            "tokenCount",
            "password_changed_at",
            "token_expires_in",
            "cookie_name",
        ),
        *("session_timeout_seconds", "secret-name", "PASSWORD_FILE", ""),
    ],
)
def test_keys_that_only_resemble_or_describe_a_secret_are_not(key: str) -> None:
    assert not is_sensitive(key)


def test_whether_there_is_a_secret_and_how_many_may_be_seen() -> None:
    assert not any(conceals("password", value) for value in (None, True, False))
    assert not conceals("max_tokens", 4096)
    assert conceals("token", 4096)
    assert conceals("db_pass", 12345)
    assert conceals("tokens", [4096])


@pytest.mark.parametrize(
    "host", ["token-service", "session-store", "api-key-service.prod", "otp", "secret-store"]
)
def test_a_port_is_no_secret_of_its_host(host: str) -> None:
    """S5: a dependency may be called like that, and its address is shown."""
    for text in (f"http://{host}:8080", f"got http://{host}:8080/health?x=1 once"):
        assert redact_text(text) == text
    for text in (f"{host}:8080", f"http://{host}:8080a", f"http://{host}: 8080"):
        assert "8080" not in redact_text(text)


def test_a_long_key_is_not_kept() -> None:
    """L6: keys may come from what a client sent; a thousand of megabytes would fill the memory."""
    key = "k" * 100_000 + "_password"
    before = sys.getrefcount(key)
    assert is_sensitive(key)
    assert JsonWriter().members([(key, SECRET)]).endswith(':"***"')
    assert sys.getrefcount(key) == before


def test_secrets_are_found_by_key_at_any_depth() -> None:
    """L7: in mappings, lists, named tuples and sets, and in headers that are listed as pairs."""
    given_value = {
        "user": {"name": "ann", "Password": SECRET, "keys": [{"api_key": SECRET}]},
        "headers": [("cookie", SECRET), (b"x-api-key", SECRET.encode()), ("accept", "text/html")],
        "seen": {f"token={SECRET}"},
        b"secret": SECRET,
        "login": Credentials("bob", SECRET),
        "url": f"redis://:{SECRET}@cache:6379/0",
        "raw": f"password={SECRET}".encode(),
        "count": 3,
    }
    assert json.loads(JsonWriter().field("", given_value)) == {
        "user": {"name": "ann", "Password": MASK, "keys": [{"api_key": MASK}]},
        "headers": [["cookie", MASK], ["x-api-key", MASK], ["accept", "text/html"]],
        "seen": [f"token={MASK}"],
        "secret": MASK,
        "login": ["bob", MASK],
        "url": f"redis://{MASK}@cache:6379/0",
        "raw": f"password={MASK}",
        "count": 3,
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # credentials in URLs
        ("to postgresql://ann:hunter2@db:5432/x failed", "to postgresql://***@db:5432/x failed"),
        ("redis://:hunter2@cache:6379/0", "redis://***@cache:6379/0"),
        ("https://hunter2@host/x", "https://***@host/x"),
        ("postgresql+asyncpg://ann:hun@ter2@db/x", "postgresql+asyncpg://***@db/x"),
        ("postgresql://ann:hun/ter2@db/x", "postgresql://***@db/x"),
        ("http://localhost:8000/by/ann@example.org", "http://localhost:8000/by/ann@example.org"),
        ("https://host/x?mail=ann@example.org", "https://host/x?mail=ann@example.org"),
        # authorization schemes
        ("sent Bearer hunter2.x-y_z= twice", "sent Bearer *** twice"),
        ("bearer  hunter2", "bearer  ***"),
        ("got Basic YW5uOmh1bnRlcjI= from", "got Basic *** from"),
        ("Basic authentication is off", "Basic authentication is off"),
        ("Authorization: Basic YW5uOmh1bnRlcjI=", "Authorization: ***"),
        ('Authorization: Digest username="ann", response="hunter2"', "Authorization: ***"),
        ("Cookie: a=hunter2; b=hunter2\nHost: x", "Cookie: ***\nHost: x"),
        # key and value
        ("password=hunter2 next", "password=*** next"),
        ("db_password = hunter2, next", "db_password = ***, next"),
        ("Password: hunter2", "Password: ***"),
        ("password=hun(t,e]r2 next", "password=*** next"),
        ("connect(password=hunter2, port=5)", "connect(password=***, port=5)"),
        ("secret => hunter2", "secret => ***"),
        ('{"password": "hunter2 is \\" long", "a": 1}', '{"password": "***", "a": 1}'),
        ("{'api_key': 'hunter2', 'a': 1}", "{'api_key': '***', 'a': 1}"),
        ('{\\"token\\": \\"hunter2\\", \\"a\\": 1}', '{\\"token\\": \\"***\\", \\"a\\": 1}'),
        ("{'token': b'hunter2'}", "{'token': b'***'}"),
        ("os.environ['TOKEN'] = 'hunter2'", "os.environ['TOKEN'] = '***'"),
        ("[(b'x-api-key', b'hunter2'), (b'a', b'b')]", "[(b'x-api-key', b'***'), (b'a', b'b')]"),
        ("password='hunter2 without an end", "password='***"),
        ("GET /x?access_token=hunter2&page=1 HTTP/1.1", "GET /x?access_token=***&page=1 HTTP/1.1"),
        ("passed: token=hunter2", "passed: token=***"),
        # by look alone
        ("invalid eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln here", "invalid *** here"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY-----",
        ),
        # harmless
        ("token_count=3 max_tokens=4096 token=None", "token_count=3 max_tokens=4096 token=None"),
        ("compass=3 monkey: 4 bypass=true", "compass=3 monkey: 4 bypass=true"),
        ("item created: 7", "item created: 7"),
        ("the password is wrong", "the password is wrong"),
    ],
)
def test_texts_lose_their_credentials(text: str, expected: str) -> None:
    """L7: in messages, fields and exception texts; only the value goes."""
    assert redact_text(text) == expected
    assert redact_text(expected) == expected


@settings(deadline=None)
@given(st.text(alphabet=st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=4))
def test_no_quoted_value_of_a_sensitive_key_survives(value: str) -> None:
    secret = f"{value}§hunter2§"
    assert "hunter2" not in redact_text(f"{{'password': {secret!r}, 'n': 1}}")


@pytest.mark.parametrize("before", ["x ", "x"])
def test_a_cut_text_does_not_end_in_half_a_secret(before: str) -> None:
    """The `@` that gives a password away may lie behind the cut."""
    text = before * (MAX_TEXT // len(before) - 20) + f" redis://:{SECRET * 10}@host"
    assert SECRET not in redact_text(text)


def test_the_output_is_bounded() -> None:
    cut = redact_text("x" * 1_000_000)
    assert len(cut) < MAX_TEXT + 100
    assert cut.endswith("[cut from 1000000 characters]")


HOSTILE = [
    *(
        "a",
        " ",
        "\\",
        "'",
        '"',
        "@",
        "=",
        "://",
        "://a:",
        "://a:/",
        "://@",
        "password",
        "password=",
        "session_",
    ),
    *(
        "passed:",
        'password="',
        'password=\\"',
        "token'",
        "[password]",
        "bearer ",
        "basic ",
        "eyJ",
        "eyJaaaaaaaaaaa.",
    ),
    *(
        "-----BEGIN PRIVATE KEY-----",
        "cookie:",
        "x:sig",
        "password    ",
        "token.",
        "api_",
        "Basic a",
    ),
]


@pytest.mark.parametrize(
    "start", ["", "password=", 'token: "', "://x:", "basic ", "eyJ", "-----BEGIN PRIVATE KEY-----"]
)
@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_input_takes_bounded_time(unit: str, start: str) -> None:
    """L6: a megabyte that drives naive patterns into quadratic time costs no more than its first 8 KiB."""
    text = (start + unit * (1_000_000 // len(unit) + 1))[:1_000_000]
    started = time.process_time()
    redact_text(text)
    assert time.process_time() - started < 0.1


@pytest.mark.parametrize("unit", [unit for unit in HOSTILE if "://" not in unit])
def test_patterns_are_linear(unit: str) -> None:
    """Without the bound: sixteen times the text takes nowhere near 256 times the time."""

    def cost(size: int) -> float:
        text = unit * (size // len(unit))
        started = time.process_time()
        redact_text(text, limit=size)
        return time.process_time() - started

    assert cost(320_000) < max(cost(20_000), 0.002) * 100


def test_what_pydantic_refused_is_hidden() -> None:
    class Login(BaseModel):
        password: str = Field(max_length=4)

    with pytest.raises(ValidationError) as refused:
        Login(password=SECRET)
    assert SECRET in str(refused.value)
    assert SECRET not in redact_text(str(refused.value))
