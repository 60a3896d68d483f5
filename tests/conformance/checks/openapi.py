"""E6: the OpenAPI document, and a property-based run against it."""

import json
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from conformance.bench import Bench
from conformance.process import run
from conformance.registry import FailedError, NotApplicableError, check, expect, expect_all
from conformance.rig import base_environment

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,unsupported_method"
)
SECONDS = 12
_FIELDS = {"error", "message", "details", "trace_id"}


def find_schemathesis() -> str | None:
    """Return the schemathesis program beside this Python, or on the path."""
    beside = Path(sys.executable).with_name("schemathesis")
    return str(beside) if beside.exists() else shutil.which("schemathesis")


def resolve(document: dict[str, Any], schema: Any) -> dict[str, Any]:
    """Follow `$ref` inside the document."""
    while isinstance(schema, dict) and "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found.get(part.replace("~1", "/"), {})
        schema = found
    return schema if isinstance(schema, dict) else {}


@check("E6", "every documented error has the standard schema", needs={"openapi"})
async def documented(bench: Bench) -> str:
    rig = await bench.rig()
    assert bench.description.openapi is not None
    answer = await rig.client.get(bench.description.openapi)
    document = answer.object()
    expect(document.get("openapi"), f"{bench.description.openapi} is {answer.brief()}")
    problems, count = [], 0
    for path, operations in document.get("paths", {}).items():
        for method, operation in operations.items():
            if method not in {"get", "post", "put", "patch", "delete"}:
                continue
            responses = operation.get("responses", {})
            errors = {
                code: body
                for code, body in responses.items()
                if code.startswith(("4", "5")) or code == "default"
            }
            count += len(errors)
            if not errors:
                problems.append(f"{method.upper()} {path} documents no error")
            for code, response in errors.items():
                content = resolve(document, response).get("content", {}).get("application/json", {})
                fields = set(resolve(document, content.get("schema", {})).get("properties", {}))
                if fields != _FIELDS:
                    problems.append(
                        f"{method.upper()} {path} {code} has the fields {sorted(fields)}"
                    )
    expect_all(problems)
    return f"{len(document['paths'])} paths, {count} documented errors"


@check(
    "E6",
    "a property-based run finds no 5xx and no undocumented answer",
    needs={"openapi", "process"},
    own=True,
)
async def property_based(bench: Bench) -> str:
    program = find_schemathesis()
    if program is None:
        raise NotApplicableError("schemathesis is not installed")
    async with bench.fresh() as rig:
        with tempfile.TemporaryDirectory(prefix="conformance-schemathesis-") as scratch:
            report = Path(scratch) / "report.json"
            argv = [
                program,
                "run",
                f"http://127.0.0.1:{rig.port}{bench.description.openapi}",
                "--checks",
                CHECKS,
            ]
            argv += [
                "--max-time",
                str(SECONDS),
                "--max-examples",
                "60",
                "--seed",
                "7",
                "--continue-on-failure",
            ]
            argv += [
                "--no-shrink",
                "--report",
                "json",
                "--report-json-path",
                str(report),
                "--request-timeout",
                "5",
            ]
            done = await run(argv, {**base_environment(), "NO_COLOR": "1"}, scratch, within=50)
            text = b"".join([*done.stdout, *done.stderr]).decode("utf-8", "replace")
            cases = _cases(report)
        if done.returncode != 0:
            found = re.findall(r"^\s*- (.+)$|^(\[\d{3}\].*)$", text, re.MULTILINE)
            shown = list(dict.fromkeys(" ".join(pair).strip() for pair in found))
            raise FailedError("; ".join(shown[:6]) or text[-600:])
    return f"{cases} requests, no violation"


def _cases(report: Path) -> str:
    try:
        return str(json.loads(report.read_text()).get("summary", {}).get("total_cases", "many"))
    except (OSError, ValueError, AttributeError):
        return "many"
