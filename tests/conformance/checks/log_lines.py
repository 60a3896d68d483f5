"""L6, L7: lines that clients cannot forge, and that keep secrets."""

import re
import secrets
from collections.abc import Iterator

from conformance.bench import Bench
from conformance.checks.common import completed, unhandled
from conformance.process import parse_line
from conformance.registry import check, expect, expect_all
from conformance.rig import Rig

_BREAKS = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")


def line_problems(line: bytes) -> Iterator[str]:
    """Yield what keeps a line from being one strict JSON object."""
    if parse_line(line) is None:
        yield f"not a strict JSON object: {line[:160]!r}"
    elif _BREAKS.search(line.decode().rstrip("\n")):
        yield f"a raw control character or line separator: {line[:160]!r}"


@check("L6", "nothing a client sends can forge or break a line", needs={"logs"})
async def forging(bench: Bench) -> str:
    rig = await bench.rig()
    mark = await rig.mark()
    hostile = [
        b'\\"}\\n{\\"level\\":\\"CRITICAL\\"',
        b"\xe2\x80\xa8\xe2\x80\xa9",
        b"\xff\xfe\x80",
        b"\xc2\x85",
        b'"\\u0000',
        b"a" * 6000,
    ]
    escaped = [
        "%0a%7b%22level%22%3a%22CRITICAL%22%7d",
        "%1b%5b31m",
        "%e2%80%a8",
        "%ff%fe",
        "%00",
        "%22%5c",
        "a" * 6000,
    ]
    sent = 0
    for value in hostile:
        sent += await _knock(rig, b"GET /nothing-here HTTP/1.1\r\nHost: x\r\nUser-Agent: " + value)
    for text in escaped:
        sent += await _knock(rig, f"GET /nothing/{text}?q={text} HTTP/1.1\r\nHost: x".encode())
    entries = await rig.logged(completed, mark, sent)
    expect_all([problem for line in rig.lines(mark) for problem in line_problems(line)][:3])
    expect(len(entries) == sent, f"{sent} requests, {len(entries)} request_completed events")
    expect(all(entry.get("level") != "CRITICAL" for entry in rig.logs(mark)), "a forged line")
    longest = max(len(line) for line in rig.lines(mark))
    expect(longest < 16 * 1024, f"a client can write a line of {longest} bytes")
    return f"{sent} hostile requests, {sent} good lines, longest {longest} bytes"


async def _knock(rig: Rig, head: bytes) -> int:
    response = await rig.client.raw(head + b"\r\nConnection: close\r\n\r\n")
    expect(response.status < 500, f"{head[:60]!r} is {response.brief()}")
    return 1 if response.header("x-trace-id") else 0


@check(
    "L7",
    "credentials in URLs and Bearer values are redacted, in fields and exception text",
    needs={"items"},
)
async def redaction(bench: Bench) -> str:
    rig = await bench.rig()
    mark, secret = await rig.mark(), f"kanarienvogel{secrets.token_hex(6)}"
    agent = f"probe https://user:{secret}@example.com/ Bearer {secret}.{secret}"
    text = f"cannot reach postgresql://user:{secret}@10.0.0.1/db, sent Authorization: Bearer {secret}.{secret}"
    await unhandled(rig, text, headers={"User-Agent": agent})
    seen = await rig.logged(
        lambda entry: "exception" in entry or "probe" in str(entry.get("user_agent")), mark, 2
    )
    expect(
        len(seen) >= 2, f"{len(seen)} lines with the user agent or the exception: nothing to judge"
    )
    lines = rig.lines(mark)
    leaks = [line for line in lines if secret.encode() in line]
    shown = leaks[0].decode()[max(0, leaks[0].decode().find(secret) - 60) :][:100] if leaks else ""
    expect(not leaks, f"{len(leaks)} of {len(lines)} lines hold the secret: …{shown}…")
    return "absent from user_agent and from the exception's text"
