"""Keeps secrets out of whatever a service writes: log lines, spans, `config` output (L7, S2).

Two rules, both leaning to the safe side: a value is hidden when its *key* says that it is secret, and a text
loses whatever *looks like* a credential in it. A wrongly hidden value costs a second look, a leaked one an
incident. What stays visible on purpose:

- `None`, `True` and `False`: whether there is a password is no secret;
- keys that describe a secret and do not hold it, told by their last word: `token_count`, `password_changed_at`;
- numbers under a plural (`max_tokens=4096`, `sessions: 12`): those are counts.

Every pattern is linear in its input (possessive or bounded repeats that cannot start twice in one run), and no
more than `limit` characters of a text are looked at, so hostile input costs a bounded time.
"""

import re
from functools import lru_cache

MASK = "***"
MAX_TEXT = 8192
_MAX_KEY = 128

# Anywhere in a key: no harmless English word contains them, but for the few that are excepted right here.
_IN_ANY_KEY = (
    r"password|passwd|passphrase|pwd|token(?!i[zs])|secret(?!ar)|authorization|cookie|credential|session|sessid"
    r"|(?:api|private|access|secret|signing|encryption|account|master)[_-]?key"
    r"|signature|connection[_-]?string|(?:basic|proxy)[_-]auth(?![a-z])"
    # pydantic's errors show what they refused, a password too, on a line without its name.
    r"|input_value"
)
# Only as a whole word: `bypass`, `spinning` and `friends_name` contain them too.
_AS_A_WORD = r"pass|dsn|jwt|otp|pin|cvv|sid|sig"

_SENSITIVE_KEY = re.compile(rf"{_IN_ANY_KEY}|(?<![a-z0-9])(?:{_AS_A_WORD})(?![a-z0-9])")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_DESCRIBES_A_SECRET = re.compile(
    r"[_\W](?:count|total|length|len|size|type|name|names|field|ttl|age|limit|expiry|expires|expiration"
    r"|seconds|ms|at|in|url|uri|endpoint|path|file|enabled|required|present|valid|status|policy|version|algorithm)$"
)

# Plain words only, so that the regex engine skips by their first letters: most texts end here.
_HINT = re.compile(
    r"pass|pwd|token|secret|authoriz|cookie|credential|sess|key|sig|conn|basic|proxy|input|dsn|jwt|otp|pin|cvv|sid"
)
# A character that one of the patterns of `redact_text` needs, `J` as in `eyJ`. One class of characters and nothing
# else is found in half the time.
_SUSPICIOUS = re.compile(r"[:='\" J]")
_PLURAL = re.compile(r"(?:password|token|secret|cookie|credential|session|key)s$", re.IGNORECASE)
_KEY_AND_SEPARATOR = re.compile(
    rf"""(?P<key>(?:{_IN_ANY_KEY}|(?<![a-z0-9])(?:{_AS_A_WORD}))[\w.\-]{{0,64}}+)
         (?: [\\"'\]]{{0,6}}+ \s{{0,8}}+ (?P<sign>[:=]{{1,2}}>?) \s{{0,8}}+     # key=…  "key": …  env['KEY'] = …
           | [\\]{{0,4}}["'] , \s{{0,8}}+ (?=b?[\\]{{0,4}}["']) )               # (b'key', b'…'), as headers are shown
    """,
    re.IGNORECASE | re.ASCII | re.VERBOSE,
)
_QUOTED = re.compile(
    r"""(?P<open>b?(?P<quote>\\{0,4}["'])) (?:(?!(?P=quote))(?:\\.|[^\\]))*+ (?P<close>(?P=quote))?""",
    re.DOTALL | re.VERBOSE,
)
# A comma or bracket ends a bare value only where a word ends: passwords contain them too.
_BARE = re.compile(
    r"""(?:(?:bearer|basic|digest|token)\s{1,8}+)?(?:[^\s&"',;)}\]]|[,;)}\]](?!\s|\Z))*+""",
    re.IGNORECASE,
)
_REST_OF_LINE = re.compile(r"[^\r\n]*+")
_HEADER = re.compile(r"(?:authorization|cookie)2?$", re.IGNORECASE)
_PLAIN = frozenset({"none", "null", "true", "false"})

# Up to the last `@` before a slash, or, with a user name, up to the first `@` behind one: drivers accept `/` in a
# password. A port (`host:8000/`) is no password.
_URL_CREDENTIALS = re.compile(
    r"""://(?:[^\s/"]*|[^\s:/@"]{0,256}+:(?!\d{1,5}[/?#])[^\s@"]{1,256})@"""
)
_HOST = re.compile(r"://[\w.\-]{0,253}\Z", re.ASCII)
_PORT = re.compile(r"\d{1,5}(?!\w)", re.ASCII)
_BEARER = re.compile(r"\b(bearer\s{1,8}+)[\w.~+/\-]++=*+", re.IGNORECASE | re.ASCII)
# `Basic` is also an English word: what follows has to look like base64.
_BASIC = re.compile(r"\b(basic\s{1,8}+)(?=[a-z]*[^a-z\s])[\w+/]{4,}+=*+", re.IGNORECASE | re.ASCII)
_JWT = re.compile(r"(?<![\w-])eyJ[\w-]{8,}+\.[\w-]{8,}+\.[\w-]*+", re.ASCII)
_PRIVATE_KEY = re.compile(
    r"(-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----).*?(?:(-----END)|\Z)", re.DOTALL
)


def is_sensitive(key: str) -> bool:
    """Whether a key, by its name alone, holds a secret; `-`, `_`, `.` and camelCase are equal."""
    return _is_sensitive(key[-_MAX_KEY:])


@lru_cache(maxsize=1024)
def _is_sensitive(key: str) -> bool:
    name = _HUMP.sub("_", key).lower()
    return _SENSITIVE_KEY.search(name) is not None and _DESCRIBES_A_SECRET.search(name) is None


def conceals(key: str, value: object) -> bool:
    """Whether this value must not be shown under this key."""
    if value is None or value is True or value is False or not is_sensitive(key):
        return False
    return not (isinstance(value, int | float) and _PLURAL.search(key))


def redact_text(text: str, limit: int = MAX_TEXT) -> str:
    """Replaces credentials in a text by `***` and cuts it to about `limit` characters.

    Knows credentials in URLs, `Bearer` and `Basic` values, JSON web tokens, PEM private keys and the values of
    sensitive keys in `key=value`, `key: value`, `"key": "value"`, `('key', 'value')` and URL queries.
    """
    if len(text) > limit:
        text = _cut(text, limit)
    # Each pattern is tried only on texts that hold one of its characters: most hold none.
    if not _SUSPICIOUS.search(text):
        return text
    if ":" in text or "=" in text or "'," in text or '",' in text:
        if "://" in text:
            text = _URL_CREDENTIALS.sub(f"://{MASK}@", text)
        if _HINT.search(text.lower()):
            text = _mask_pairs(text)
    if " " in text:
        text = _redact_prose(text)
    if "eyJ" in text:
        text = _JWT.sub(MASK, text)
    return text


def _redact_prose(text: str) -> str:
    lowered = text.lower()
    if "bearer " in lowered or "basic " in lowered:
        text = _BASIC.sub(rf"\1{MASK}", _BEARER.sub(rf"\1{MASK}", text))
    if "private key-" in lowered:
        text = _PRIVATE_KEY.sub(rf"\1{MASK}\2", text)
    return text


def is_pair(value: object) -> bool:
    """Whether this is a key and its value, as headers are listed: `("cookie", "…")`."""
    if (
        not isinstance(value, list | tuple)
        or len(value) != 2
        or not isinstance(value[0], str | bytes)
    ):
        return False
    return conceals(key_name(value[0]), value[1])


def key_name(key: object) -> str:
    """A mapping's key as text, whatever its type."""
    if isinstance(key, bytes):
        return key.decode("utf-8", "backslashreplace")
    return str(key)


def _cut(text: str, limit: int) -> str:
    kept = text[:limit]
    words = kept.rsplit(None, 1)
    if words and "://" in words[-1]:
        # The `@` that would have given the credentials away may lie behind the cut.
        kept = kept[: len(kept) - len(words[-1])] + words[-1].partition("://")[0] + "://" + MASK
    return f"{kept}...[cut from {len(text)} characters]"


def _mask_pairs(text: str) -> str:
    parts: list[str] = []
    done = 0
    for match in _KEY_AND_SEPARATOR.finditer(text):
        if match.start() < done or not is_sensitive(match["key"]) or _is_host(text, match):
            continue
        masked, end = _masked_value(text, match)
        if masked:
            parts += text[done : match.end()], masked
            done = end
    return "".join((*parts, text[done:]))


def _is_host(text: str, match: re.Match[str]) -> bool:
    """Whether this is `://token-service:8080`: a host, with its port behind it."""
    is_direct = match.end() == match.end("key") + 1 and match["sign"] == ":"
    before = max(0, match.start() - 256)
    return bool(
        is_direct and _PORT.match(text, match.end()) and _HOST.search(text, before, match.start())
    )


def _masked_value(text: str, match: re.Match[str]) -> tuple[str, int]:
    """What stands for the value behind this key, and where that value ends; empty when it may stay."""
    start = match.end()
    if quoted := _QUOTED.match(text, start):
        return f"{quoted['open']}{MASK}{quoted['close'] or ''}", quoted.end()
    header = match["sign"] == ":" and _HEADER.search(match["key"])
    bare = (_REST_OF_LINE if header else _BARE).match(text, start)
    value = bare[0] if bare else ""
    is_count = value.isdecimal() and _PLURAL.search(match["key"])
    if not value or is_count or value.lower() in _PLAIN:
        return "", start
    return MASK, start + len(value)
