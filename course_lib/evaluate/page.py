"""Verdicts as a page of HTML that stands alone: one row an artifact, one column a limit, the reasons below."""

from __future__ import annotations

import html
from collections.abc import Sequence

from course_lib.evaluate.gate import FIGURES, GATES, SIDES, Gate, Verdict, complaint, split_key

TITLE = "May they serve?"
STYLE = """
:root { color-scheme: light dark; --bad: light-dark(#a33000, #ff9d6e); --good: light-dark(#00563f, #7fd6b8); }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { border: 1px solid #8884; padding: .3rem .6rem; text-align: right; vertical-align: bottom; }
th:first-child { text-align: left; }
th[scope=row], td { white-space: nowrap; }
.bad { color: var(--bad); font-weight: 600; }
.good { color: var(--good); }
"""


def page(verdicts: Sequence[Verdict], gate: Gate) -> str:
    """The verdicts on some artifacts under one gate."""
    limits = [(name, key, limit) for name in GATES for key, limit in getattr(gate, name).items()]
    head = "".join(f"<th scope=col>{_limit(*limit)}</th>" for limit in limits)
    rows = "".join(_row(verdict, limits) for verdict in verdicts)
    told = "".join(_told(verdict) for verdict in verdicts)
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{TITLE}</title><style>{STYLE}</style>\n<h1>{TITLE}</h1>\n"
        f'<div class="wide"><table><thead><tr><th scope=col>artifact</th><th scope=col>verdict</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>\n{told}</html>\n"
    )


def _limit(gate: str, key: str, limit: float) -> str:
    figure, side = split_key(gate, key)
    what = html.escape(FIGURES[gate][figure])
    return f'<small>{gate}</small><br><abbr title="{what}">{figure}</abbr><br>{SIDES[side]} {limit:g}'


def _row(verdict: Verdict, limits) -> str:
    word = '<td class="good">✓ approved</td>' if verdict.approved else '<td class="bad">✗ refused</td>'
    return f"<tr><th scope=row>{html.escape(verdict.name)}</th>{word}" + "".join(
        _cell(verdict, *limit) for limit in limits) + "</tr>"  # fmt: skip


def _cell(verdict: Verdict, gate: str, key: str, limit: float) -> str:
    value = verdict.report.figures.get(split_key(gate, key)[0])
    said = "not measured" if value is None else f"{value:.4g}"
    return f'<td class="bad">✗ {said}</td>' if complaint(verdict.report, gate, key, limit) else f"<td>{said}</td>"


def _told(verdict: Verdict) -> str:
    reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in verdict.reasons) or "<li>Every limit holds.</li>"
    log = f"<pre>{html.escape(verdict.report.log)}</pre>" if verdict.report.log else ""
    source = f"<p><small>{html.escape(verdict.report.source)}</small></p>" if verdict.report.source else ""
    return f"<h2>{html.escape(verdict.name)}</h2><ul>{reasons}</ul>{log}{source}\n"
