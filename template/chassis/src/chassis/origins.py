"""What a browser origin is (RFC 6454), and which ones a deployed service may trust.

The template's questionnaire accepts only what this module leaves unchanged.
"""

import ipaddress
import re

DEFAULT_PORTS = {"http": 80, "https": 443}
EXAMPLE = "https://app.example.com"

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_ORIGIN = re.compile(
    r"(?P<scheme>https?)://"
    rf"(?P<host>\[(?P<ipv6>[0-9a-f:.]+)\]|{_LABEL}(\.{_LABEL})*)"
    r"(:(?P<port>[0-9]{1,5}))?"
)
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
    parts = _ORIGIN.fullmatch(lowered)
    port = int(parts["port"]) if parts and parts["port"] else None
    if not parts or port == 0 or (port or 0) > 65535 or not _is_ipv6(parts["ipv6"]):
        raise ValueError(
            "an origin is scheme, host and optional port, without path or trailing slash, "
            f"for example {EXAMPLE}"
        )
    scheme, host = parts["scheme"], parts["host"]
    if deployed and (scheme != "https" or _LOOPBACK.fullmatch(host)):
        raise ValueError(
            f"outside development an origin is https and not localhost, for example {EXAMPLE}"
        )
    suffix = f":{port}" if port and port != DEFAULT_PORTS[scheme] else ""
    return f"{scheme}://{host}{suffix}"


def _is_ipv6(host: str | None) -> bool:
    try:
        return host is None or bool(ipaddress.IPv6Address(host))
    except ValueError:
        return False
