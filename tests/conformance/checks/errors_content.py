"""E: what error answers say, and what they keep to themselves."""

import json
import secrets

from conformance.bench import Bench
from conformance.checks.common import body_problems, code_of, refused_statements, unhandled
from conformance.checks.errors import provoked_by_items
from conformance.registry import check, expect, expect_all


@check("E3", "422: details.errors of loc, type, msg; never the input", needs={"items"})
async def validation(bench: Bench) -> str:
    rig = await bench.rig()
    secret = f"kanarienvogel{secrets.token_hex(6)}"
    bodies: list[object] = [
        {"name": {"password": secret}},
        {"name": [secret]},
        {"description": secret},
        [secret],
        {"name": secret * 400},
    ]
    problems = []
    for body in bodies:
        answer = await rig.client.request("POST", rig.items, json=body)
        if answer.status == 201:
            continue
        problems += list(body_problems(answer, 422))
        if secret in answer.text:
            problems.append(f"the input is echoed: {answer.brief()}")
        details = answer.object().get("details")
        errors = details.get("errors") if isinstance(details, dict) else None
        if not isinstance(errors, list) or not errors:
            problems.append(f"details.errors is {errors!r}")
        else:
            problems += [
                f"an entry has the keys {sorted(e)}"
                for e in errors
                if set(e) != {"loc", "type", "msg"}
            ]
    expect_all(problems)
    return f"{len(bodies)} bad bodies, none echoed"


@check("E4", "a 500 reveals nothing, in every environment", needs={"items"}, own=True)
async def reveals_nothing(bench: Bench) -> str:
    secret = f"kanarienvogel{secrets.token_hex(6)}"
    messages = set()
    words = (
        secret,
        "Traceback",
        "Error:",
        "Exception",
        "sqlalchemy",
        "asyncpg",
        "postgres",
        "INSERT",
        ".py",
    )
    for environment in ("production", "development"):
        async with bench.fresh({"ENVIRONMENT": environment}) as rig:
            answer = await unhandled(rig, f"cannot do {secret}")
        expect_all(body_problems(answer, 500))
        expect_all(
            f"{environment}: the 500 says {word!r}: {answer.brief()}"
            for word in words
            if word in answer.text
        )
        expect(
            answer.object()["details"] is None,
            f"{environment}: details of a 500 are {answer.object()['details']}",
        )
        messages.add(answer.object()["message"])
    expect(len(messages) == 1, f"the message differs by environment: {messages}")
    return f"always {messages.pop()!r}"


@check("E5", "domain errors carry a stable details.code", needs={"items"})
async def codes(bench: Bench) -> str:
    rig = await bench.rig()
    answers = await provoked_by_items(rig)
    found = {kind: code_of(answers[kind]) for kind in ("409", "404 unknown item")}
    expect(found["409"] == "item_name_taken", f"the 409 has the code {found['409']}")
    expect(
        found["404 unknown item"] == "item_not_found",
        f"the 404 has the code {found['404 unknown item']}",
    )
    return ", ".join(map(str, found.values()))


@check("E5", "what a dependency answers is not passed through", needs={"dependency"}, own=True)
async def upstream_body(bench: Bench) -> str:
    secret = f"kanarienvogel{secrets.token_hex(6)}"
    async with bench.fresh() as rig:
        rig.dependency.body = json.dumps(
            {"status": "alive", "message": secret, "error": secret}
        ).encode()
        answers = []
        for status in (500, 503, 404, 401, 200):
            rig.dependency.status = status
            answers.append(await rig.upstream())
    expect_all(
        f"{answer.brief()} holds the dependency's text"
        for answer in answers
        if secret in answer.text
    )
    return f"dependency said 500, 503, 404, 401, 200; service answered {[answer.status for answer in answers]}"


@check("E4", "a database error's text is not in a 5xx at COMMIT either", needs={"items"})
async def commit_reveals_nothing(bench: Bench) -> str:
    rig = await bench.rig()
    secret = f"kanarienvogel{secrets.token_hex(6)}"
    async with refused_statements(rig, secret, at_commit=True):
        answer = await rig.create_item()
    expect(answer.status >= 500, f"a failing COMMIT is {answer.brief()}")
    expect(secret not in answer.text, f"the answer holds the database's text: {answer.brief()}")
    return f"{answer.status} {answer.object().get('message')!r}"
