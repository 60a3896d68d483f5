"""The report as one self-contained HTML page."""

from datetime import UTC, datetime
from html import escape

from conformance.criteria import AREAS
from conformance.registry import Result, Verdict
from conformance.runner import Report
from conformance.whitebox import WHITE_BOX

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2330;--soft:#667085;--line:#e4e7ec;--page:#f7f8fa;--card:#fff;
--pass:#12805c;--fail:#c4320a;--error:#9e165f;--none:#98a2b3}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#98a2b3;--line:#2c3444;--page:#11151d;--card:#181d28;
--pass:#3ccb95;--fail:#ff7a50;--error:#f670c7;--none:#667085}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);
margin:0 auto;max-width:66rem;padding:2rem 1rem}
h1{margin:0;font-size:1.7rem}h2{font-size:1.05rem;margin:2rem 0 .5rem}p.sub{color:var(--soft);margin:.2rem 0 1.2rem}
.bar{display:flex;height:.7rem;border-radius:.35rem;overflow:hidden;background:var(--line)}
.bar i{display:block}.legend span{margin-right:1.2rem;color:var(--soft)}.legend b{color:var(--ink)}
table{width:100%;border-collapse:collapse;background:var(--card);border:1px solid var(--line);border-radius:.5rem}
td{padding:.5rem .7rem;border-top:1px solid var(--line);vertical-align:top}tr:first-child td{border-top:0}
td.id{font-weight:600;width:2.5rem}td.v{width:7rem;font-weight:600;white-space:nowrap}td.t{width:3.5rem;color:var(--soft);text-align:right}
.m{color:var(--soft)}.pass{color:var(--pass)}.fail{color:var(--fail)}.error{color:var(--error)}.none{color:var(--none)}
.bg-pass{background:var(--pass)}.bg-fail{background:var(--fail)}.bg-error{background:var(--error)}.bg-none{background:var(--none)}
pre{font-size:12px;overflow:auto;background:var(--page);padding:.6rem;border-radius:.4rem;max-height:18rem}
summary{cursor:pointer;color:var(--soft)}
"""

_CLASS = {
    Verdict.PASS: "pass",
    Verdict.FAIL: "fail",
    Verdict.ERROR: "error",
    Verdict.NOT_APPLICABLE: "none",
    Verdict.WHITE_BOX: "none",
}


def page(report: Report) -> str:
    """Return the page: totals first, then every criterion by area, with the contract's words one click away."""
    verdicts = report.verdicts()
    title = f"{escape(report.description.name)}: contract conformance"
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    held = (
        "Every criterion that was judged holds." if report.holds else "Not every criterion holds."
    )
    counts = {verdict: list(verdicts.values()).count(verdict) for verdict in Verdict}
    bar = "".join(
        f'<i class="bg-{_CLASS[verdict]}" style="flex:{count}"></i>'
        for verdict, count in counts.items()
        if count
    )
    legend = "".join(
        f"<span><b>{count}</b> {verdict}</span>" for verdict, count in counts.items() if count
    )
    sections = "".join(_section(report, area) for area in AREAS)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f'<h1>{title}</h1><p class="sub">{held} {when}, {report.seconds:.0f} s</p>'
        f'<div class="bar">{bar}</div><p class="legend">{legend}</p>{sections}</html>\n'
    )


def _section(report: Report, area: str) -> str:
    rows = "".join(
        _rows(report, name, found)
        for name, found in report.results.items()
        if name.startswith(area)
    )
    return f"<h2>{area} &middot; {escape(AREAS[area])}</h2><table>{rows}</table>" if rows else ""


def _rows(report: Report, criterion: str, results: list[Result]) -> str:
    promise = escape(report.criteria[criterion].text)
    if not results:
        tests = "<br>".join(escape(test) for test in WHITE_BOX.get(criterion, ()))
        return (
            f'<tr title="{promise}"><td class="id">{criterion}</td>{_verdict(Verdict.WHITE_BOX)}'
            f'<td>{promise}<div class="m">{tests}</div></td><td></td></tr>'
        )
    rows = []
    for number, result in enumerate(results):
        output = escape("\n".join(result.output))
        last = (
            f"<details><summary>last output</summary><pre>{output}</pre></details>"
            if output
            else ""
        )
        rows.append(
            f'<tr title="{promise}"><td class="id">{criterion if number == 0 else ""}</td>{_verdict(result.verdict)}'
            f'<td>{escape(result.check.title)}<div class="m">{escape(result.measured)}</div>{last}</td>'
            f'<td class="t">{result.seconds:.1f} s</td></tr>'
        )
    return "".join(rows)


def _verdict(verdict: Verdict) -> str:
    return f'<td class="v {_CLASS[verdict]}">{verdict}</td>'
