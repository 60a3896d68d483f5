"""What a browser origin is (RFC 6454), and which ones a deployed service may trust.

The template's questionnaire applies the same rules to its answers.
"""

import re
from urllib.parse import urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}
EXAMPLE = "https://app.example.com"

_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?)(:[0-9]{1,5})?")
_LOOPBACK = re.compile(r"localhost|.*\.localhost|127\.[0-9.]+|\[::1\]|0\.0\.0\.0")


def normalise(origin: str, *, deployed: bool) -> str:
    """Return `origin` in lower case and without its scheme's default port.

    Args:
        origin: scheme, host and optional port.
        deployed: outside development only `https` and no loopback host is accepted.

    Raises:
        ValueError: what is wrong and what a right value looks like.
    """
    lowered = origin.strip().lower()
    if lowered == "*":
        raise ValueError(f"'*' would trust every site; list the origins, for example {EXAMPLE}")
    if not _ORIGIN.fullmatch(lowered):
        raise ValueError(
            "an origin is scheme, host and optional port, without path or trailing slash, "
            f"for example {EXAMPLE}"
        )
    parts = urlsplit(lowered)
    host = lowered.removeprefix(f"{parts.scheme}://").removesuffix(f":{_port(lowered)}")
    if deployed and (parts.scheme != "https" or _LOOPBACK.fullmatch(host)):
        raise ValueError(
            f"outside development an origin is https and not localhost, for example {EXAMPLE}"
        )
    port = parts.port
    suffix = "" if port is None or port == DEFAULT_PORTS[parts.scheme] else f":{port}"
    return f"{parts.scheme}://{host}{suffix}"


def _port(origin: str) -> str:
    return origin.rpartition(":")[2]
