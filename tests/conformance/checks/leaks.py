"""S, T: canaries: secrets planted everywhere, searched for everywhere."""

import asyncio
import secrets
from collections.abc import Iterable

from conformance.bench import Bench
from conformance.checks.common import refused_statements
from conformance.registry import check, expect, expect_all
from conformance.rig import Rig


class Canaries:
    """One unmistakable secret per place where one may be planted."""

    def __init__(self) -> None:
        self.planted: dict[str, str] = {}

    def plant(self, place: str) -> str:
        """Return the canary of a place."""
        return self.planted.setdefault(place, f"kanari{secrets.token_hex(8)}")

    def leaks(self, sink: str, texts: Iterable[str]) -> list[str]:
        """Return each planted canary that sings in a sink."""
        text = "\n".join(texts)
        return [
            f"the secret from {place} is in {sink}"
            for place, canary in self.planted.items()
            if canary in text
        ]


async def _provoke(rig: Rig, canaries: Canaries) -> list[str]:
    """Send secrets in every part of a request, break things while secrets are about, and return all answers."""
    headers = {
        "Authorization": f"Bearer {canaries.plant('Authorization')}",
        "Cookie": f"session={canaries.plant('Cookie')}",
        "X-Api-Key": canaries.plant("X-Api-Key"),
        "Proxy-Authorization": f"Basic {canaries.plant('Proxy-Authorization')}",
    }
    query = f"?password={canaries.plant('the query')}&access_token={canaries.plant('the query')}"
    client, answers = rig.client, []
    for path in ("/nothing-here", rig.items, f"{rig.items}/999999999", "/health/ready"):
        answers.append(await client.get(path + query, headers=headers))
    body = {
        "name": {"password": canaries.plant("an invalid body")},
        "token": canaries.plant("an invalid body"),
    }
    answers.append(await client.request("POST", rig.items + query, headers=headers, json=body))
    if rig.postgres is not None and rig.proxy is not None and rig.description.items:
        text = (
            f"cannot log in to postgresql://app:{canaries.plant('exception text, URL')}@db/app "
            f"with Authorization: Bearer {canaries.plant('exception text, Bearer')}"
        )
        async with refused_statements(rig, text):
            answers.append(await rig.create_item(headers=headers))
        rig.proxy.set("reset")
        answers.append(await rig.create_item(headers=headers))
        answers.append(await client.get("/health/ready"))
        rig.proxy.set("pass")
    if rig.redis is not None:
        await rig.redis.kill()
        answers.append(await client.get(f"{rig.items}/1"))
        answers.append(await client.get("/health/ready"))
    if "dependency" in rig.description.capabilities:
        for mode in ("answer", "reset"):
            rig.dependency.status, rig.dependency.mode = 500, mode
            answers.append(await rig.upstream(headers=headers))
    return [answer.text + str(answer.headers) for answer in answers]


@check(
    "S2",
    "planted secrets are in no log, error, span, metric or health answer",
    needs={"process", "logs"},
    own=True,
)
async def canary_hunt(bench: Bench) -> str:
    canaries = Canaries()
    env: dict[str, str | None] = {
        "API_TOKEN": canaries.plant("API_TOKEN"),
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{canaries.plant('OTEL_EXPORTER_OTLP_HEADERS')}",
    }
    async with bench.fresh(env) as rig:
        if rig.postgres is not None:
            canaries.planted["DATABASE_URL"] = rig.postgres.password
        if rig.redis is not None:
            canaries.planted["REDIS_URL"] = rig.redis.password
        answers = await _provoke(rig, canaries)
        metrics = (await rig.scrape()).text
        await asyncio.sleep(0.5)
        assert rig.process is not None
        await rig.process.stop(patience=8)
        lines = [
            line.decode("utf-8", "replace") for line in rig.process.stdout + rig.process.stderr
        ]
        spans = [span.text() for span in rig.collector.spans]
    sinks = {"an answer": answers, "the metrics": [metrics], "the log": lines, "a span": spans}
    expect_all(leak for sink, texts in sinks.items() for leak in canaries.leaks(sink, texts))
    expect(lines and spans, f"nothing to search in: {len(lines)} lines, {len(spans)} spans")
    return (
        f"{len(canaries.planted)} canaries, none in {len(answers)} answers, {len(lines)} lines, {len(spans)} spans, "
        f"{len(metrics)} bytes of metrics"
    )


@check("S2", "what a client sends as a secret is in no log and no answer", needs={"logs"})
async def client_secrets(bench: Bench) -> str:
    rig = await bench.rig()
    canaries = Canaries()
    mark = await rig.mark()
    headers = {
        "Authorization": f"Bearer {canaries.plant('Authorization')}",
        "Cookie": f"s={canaries.plant('Cookie')}",
    }
    answers = []
    for path in ("/nothing-here", rig.items):
        answer = await rig.client.get(
            f"{path}?token={canaries.plant('the query')}", headers=headers
        )
        answers.append(answer.text + str(answer.headers))
    await asyncio.sleep(0.2)
    lines = [line.decode("utf-8", "replace") for line in rig.lines(mark)]
    expect_all([*canaries.leaks("the log", lines), *canaries.leaks("an answer", answers)])
    return f"{len(lines)} lines and {len(answers)} answers searched"
