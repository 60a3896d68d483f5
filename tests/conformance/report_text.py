"""The report for a terminal: a table, and a scorecard by improvement."""

import shutil
import textwrap

from conformance.criteria import IMPROVEMENTS
from conformance.registry import Result, Verdict
from conformance.runner import Report

_MARKS = {
    Verdict.PASS: ("pass", "32"),
    Verdict.FAIL: ("FAIL", "31"),
    Verdict.ERROR: ("ERROR", "35"),
    Verdict.NOT_APPLICABLE: ("n/a", "90"),
    Verdict.WHITE_BOX: ("inside", "90"),
}


class Painter:
    """Colours for a terminal, or none."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour

    def verdict(self, verdict: Verdict) -> str:
        """Return the verdict's word, six columns wide."""
        word, code = _MARKS[verdict]
        return f"\x1b[{code}m{word:6}\x1b[0m" if self._colour else f"{word:6}"


def progress_line(result: Result, painter: Painter) -> str:
    """Return one line for a check that has just ended."""
    return f"{painter.verdict(result.verdict)} {result.check.criterion:4}{result.seconds:5.1f} s  {result.check.title}"


def table(report: Report, painter: Painter) -> str:
    """Return criterion, verdict and what was measured, and the last output where something broke."""
    width = max(60, min(shutil.get_terminal_size((120, 40)).columns, 160)) - 13
    lines = []
    for criterion, results in report.results.items():
        shown: list[Result | None] = [*results] or [None]
        for number, result in enumerate(shown):
            verdict = result.verdict if result else Verdict.WHITE_BOX
            text = (
                f"{result.check.title}: {result.measured}"
                if result
                else "covered by white-box tests"
            )
            head, *rest = textwrap.wrap(text, width) or [""]
            lines.append(f"{criterion if number == 0 else '':4} {painter.verdict(verdict)}  {head}")
            lines += [" " * 13 + line for line in rest]
            if result and verdict in (Verdict.FAIL, Verdict.ERROR):
                lines += [" " * 13 + "| " + line[: width - 2] for line in result.output[-6:]]
    return "\n".join([*lines, "", summary(report)])


def summary(report: Report) -> str:
    """Return one line with the counts and the time."""
    found = list(report.verdicts().values())
    counts = ", ".join(
        f"{found.count(verdict)} {verdict}" for verdict in Verdict if verdict in found
    )
    return f"{report.description.name}: {counts}; {report.seconds:.0f} s"


def scorecard(report: Report, painter: Painter) -> str:
    """Return which of the ten improvements the service has, with the first thing missing from each."""
    lines = [f"The ten improvements in {report.description.name}", ""]
    for area, name in IMPROVEMENTS.items():
        results = [
            found for criterion, found in report.results.items() if criterion.startswith(area)
        ]
        judged = [
            result
            for found in results
            for result in found
            if result.verdict is not Verdict.NOT_APPLICABLE
        ]
        good = sum(result.verdict is Verdict.PASS for result in judged)
        bar = "#" * round(10 * good / len(judged)) if judged else ""
        score = f"{good} of {len(judged)} checks" if judged else "not judged"
        lines.append(f"{name:26} [{bar:10}] {score}")
        for result in judged:
            if result.verdict is not Verdict.PASS:
                text = f"{result.check.criterion} {result.check.title}: {result.measured}"
                lines += textwrap.wrap(
                    text, 116, initial_indent="    - ", subsequent_indent="      "
                )
    return "\n".join([*lines, "", summary(report)])
