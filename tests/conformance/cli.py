"""The command line: `python -m conformance`."""

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from conformance import report_html, report_text
from conformance.criteria import read_contract
from conformance.description import Description, DescriptionError, load
from conformance.process import StartError
from conformance.registry import Result, all_checks
from conformance.render import render_default
from conformance.runner import Report, SelectionError, run_suite
from conformance.whitebox import WHITE_BOX

EXIT_HOLDS, EXIT_BROKEN, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130

_DESCRIPTION = """\
Prove the service contract (docs/contract.md) on a service, from outside.

Without --service the default render of this template is made, installed and judged.
Exit code 0: every judged criterion holds. 1: something does not. 2: wrong use. 130: interrupted.
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    found = argparse.ArgumentParser(
        "conformance",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument(
        "--service",
        type=Path,
        metavar="PATH",
        help="a description (TOML), or a rendered service's directory",
    )
    found.add_argument(
        "--only",
        default="",
        metavar="B3,H4",
        help="areas, criteria or checks to run, comma-separated",
    )
    found.add_argument(
        "--html", type=Path, metavar="FILE", help="write the report as one HTML page, too"
    )
    found.add_argument(
        "--audit",
        action="store_true",
        help="print a scorecard of the ten improvements instead of a table",
    )
    found.add_argument("--list", action="store_true", help="list criteria and checks, run nothing")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = parser().parse_args(argv)
    if options.list:
        print(listing())
        return EXIT_HOLDS
    painter = report_text.Painter(sys.stdout.isatty())
    try:
        with tempfile.TemporaryDirectory(prefix="conformance-render-") as scratch:
            return run_to_end(_judge(options, painter, Path(scratch)))
    except (DescriptionError, SelectionError) as error:
        print(f"conformance: {error}", file=sys.stderr)
        return EXIT_USAGE
    except StartError as error:
        print(f"conformance: {error}", *error.output, sep="\n  ", file=sys.stderr)
        return EXIT_BROKEN
    except asyncio.CancelledError:
        print("conformance: interrupted; everything that was started is stopped", file=sys.stderr)
        return EXIT_INTERRUPTED


async def _judge(options: argparse.Namespace, painter: report_text.Painter, scratch: Path) -> int:
    description: Description
    description = load(options.service) if options.service else await render_default(scratch)

    def progress(result: Result) -> None:
        print(report_text.progress_line(result, painter), flush=True)

    report: Report = await run_suite(description, options.only.split(","), progress)
    show = report_text.scorecard if options.audit else report_text.table
    print("", show(report, painter), sep="\n")
    if options.html:
        options.html.write_text(report_html.page(report), encoding="utf-8")
        print(f"report: {options.html}")
    return EXIT_HOLDS if report.holds else EXIT_BROKEN


def run_to_end(work: Coroutine[Any, Any, int]) -> int:
    """Run a coroutine; the first SIGINT, SIGTERM or SIGHUP cancels it, and its cleaning up is then left alone.

    Raises:
        CancelledError: a signal ended the run.
    """

    async def guarded() -> int:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, lambda: task.cancelling() or task.cancel())
        return await task

    return asyncio.run(guarded())


def listing() -> str:
    """Return every criterion with its checks, or with the tests that cover it inside."""
    lines = []
    for name in read_contract():
        checks = [check for check in all_checks() if check.criterion == name]
        lines += [f"{name:4} {check.name:40} {check.title}" for check in checks]
        lines += [f"{name:4} (white box) {test}" for test in WHITE_BOX.get(name, ())]
    return "\n".join(lines)
