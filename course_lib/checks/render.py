"""What a learner sees of a check: one MIME bundle with HTML for JupyterLab and plain text for everything else.

Colours follow JupyterLab's theme variables, so that cards read well in light and dark. The state is said in words; the
coloured bar only repeats it.
"""

import html as _html
import sys

from course_lib.checks import compare
from course_lib.checks.shorten import shorten
from course_lib.checks.verdict import FAIL, NOT_ATTEMPTED, PASS

BARS = {PASS: "#0072B2", FAIL: "#D55E00", NOT_ATTEMPTED: "#7F7F7F", "card": "#56B4E9"}
WORDS = {PASS: "passed", FAIL: "not yet", NOT_ATTEMPTED: "not attempted"}
INK = "var(--jp-content-font-color1, inherit)"
SOFT = "var(--jp-content-font-color2, inherit)"
NEAR = compare.Tolerance(rtol=1e-3)  # an answer as close as this wants to know how close it had to be
CELL = 'style="text-align:left; padding:2px 12px 2px 0; vertical-align:top; white-space:pre-wrap; background:none"'


def escape(text) -> str:
    """Text made safe inside HTML."""
    return _html.escape(str(text), quote=True)


def code(text: str) -> str:
    """A block of source."""
    style = f"margin:4px 0; padding:6px 8px; color:{INK}; white-space:pre-wrap"
    return f'<pre style="{style}"><code>{escape(text)}</code></pre>'


class Shown:
    """Something with an HTML and a text form; a notebook shows it at once, and not again as the cell's value."""

    _shown_at = None

    def html(self) -> str:
        raise NotImplementedError

    def text(self) -> str:
        raise NotImplementedError

    def __repr__(self):
        return self.text()

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/plain": self.text(), "text/html": self.html()}

    def _ipython_display_(self):
        if self._shown_at is None or self._shown_at != _execution():
            show(self)


class Sheet(Shown):
    """One run of *mine*: a title, rows of (name, value), and notes below them. Subclasses have `notes`."""

    notes: list[str]

    def title(self) -> str:
        raise NotImplementedError

    def rows(self) -> list[tuple[str, object]]:
        raise NotImplementedError

    def html(self) -> str:
        rest = "".join(map(paragraph, self.notes))
        inside = f"<strong>{escape(self.title())}</strong>{table(self.rows())}{rest}"
        return box(self.title(), BARS["card"], inside)

    def text(self) -> str:
        return "\n".join([self.title()] + [f"    {name}: {value}" for name, value in self.rows()] + self.notes)


def show(shown):
    """Display now where there is a notebook; returns its argument."""
    if in_notebook():
        from IPython.display import display

        shown._shown_at = _execution()
        display(shown._repr_mimebundle_(), raw=True)
    return shown


def in_notebook() -> bool:
    """True where something can be displayed."""
    return _execution() is not None


def _execution():
    """The number of the running cell, or None outside IPython."""
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython

    shell = get_ipython()
    return None if shell is None else shell.execution_count


def paragraph(text: str) -> str:
    """One paragraph of text, with its code set as code."""
    return f'<p style="margin:4px 0">{spans(text)}</p>'


def spans(text) -> str:
    """Text made safe inside HTML; what stands between two backticks becomes code.

    >>> spans("take `w.abs()`, not w")
    'take <code>w.abs()</code>, not w'
    """
    parts = escape(text).split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return "".join(f"<code>{part}</code>" if k % 2 else part for k, part in enumerate(parts))


def box(label: str, bar: str, inside: str) -> str:
    """The frame of every card."""
    style = f"border-left:4px solid {bar}; padding:4px 12px; margin:4px 0; color:{INK}; overflow-wrap:anywhere"
    return f'<section aria-label="{escape(label)}" style="{style}">{inside}</section>'


def table(rows: list[tuple[str, str]]) -> str:
    """Named values, one a row."""
    line = '<tr style="background:none"><th scope="row" {c}>{name}</th><td {c}><code>{value}</code></td></tr>'
    body = "".join(line.format(c=CELL, name=escape(n), value=escape(v)) for n, v in rows)
    return f'<table style="margin:4px 0; border-collapse:collapse; color:{INK}"><tbody>{body}</tbody></table>'


class Card(Shown):
    """A title, paragraphs of text and blocks of source: hints, solutions, predictions."""

    def __init__(self, title: str, *parts: tuple[str, str], bar: str = BARS["card"]):
        self.title, self.parts, self.bar = title, parts, bar

    def html(self) -> str:
        body = "".join(code(t) if kind == "code" else paragraph(t) for kind, t in self.parts)
        return box(self.title, self.bar, f"<strong>{escape(self.title)}</strong>{body}")

    def text(self) -> str:
        return "\n".join([self.title] + [t for _, t in self.parts])


class Result(Shown):
    """The result of one check. `state` is "pass", "fail" or "not attempted"."""

    def __init__(self, exercise, judgement, notes=()):
        self.exercise, self.judgement, self.notes = exercise, judgement, list(notes)

    @property
    def state(self) -> str:
        return self.judgement.state

    @property
    def passed(self) -> bool:
        return self.state == PASS

    @property
    def failed_property(self) -> str | None:
        """The name of the first property that failed."""
        return self.judgement.first.name if self.judgement.first else None

    @property
    def mistake(self) -> str | None:
        """The name of the likely mistake."""
        return self.judgement.mistake.name if self.judgement.mistake else None

    def html(self) -> str:
        title = self._title()
        parts = [f"<strong>{escape(title)}</strong>"]
        parts += [paragraph(line) for line in self._sentences()]
        if self._example():
            parts.append(table(self._example()))
        parts += [paragraph(line) for line in self._afterwards()]
        parts.append(self._checklist_html())
        if self.judgement.printed:
            said = "Your function printed this (first call that printed)"
            parts.append(f"<details><summary>{said}</summary>{code(self.judgement.printed)}</details>")
        return box(title, BARS[self.state], "".join(parts))

    def text(self) -> str:
        lines = [self._title()] + self._sentences()
        lines += [f"    {name}: {value}" for name, value in self._example()]
        lines += self._afterwards() + [f"  {mark}: {v.name}" for mark, v in self._checklist()]
        if self.judgement.printed:
            lines += ["Your function printed:", self.judgement.printed]
        return "\n".join(lines)

    def _title(self) -> str:
        return f"{self.exercise.id}: {WORDS[self.state]}"

    def _sentences(self) -> list[str]:
        if self.state == PASS:
            return [said for said in (self.judgement.message, self.exercise.passed) if said]
        if self.state == NOT_ATTEMPTED:
            return [self.judgement.message, f"The task: {self.exercise.spec}"]
        first = self.judgement.first
        told = first.failure.message
        # a function that raises, loops or returns the wrong kind of thing did not get as far as the property
        return [f"Failed: “{first.name}”. {told}" if first.failure.shows_values else told]

    def _example(self) -> list[tuple[str, str]]:
        first = self.judgement.first
        if first is None or first.failure is None:
            return []
        failure = first.failure
        rows = [("case", failure.case)] if failure.case else []
        rows += [(name, shorten(value)) for name, value in failure.inputs.items()]
        rows += [("your answer", shorten(failure.got))] if failure.has_answer else []
        rows += [("expected", shorten(failure.expected))] if failure.has_expected else []
        return rows

    def _afterwards(self) -> list[str]:
        lines = []
        first = self.judgement.first
        if self.judgement.diagnosis is not None:
            lines.append(str(self.judgement.diagnosis))
        if first is not None and _why(first):
            lines.append(f"Why: {_why(first)}")
        if self.state != PASS:
            lines.append(f"Stuck? `check.{self.exercise.id}.hint()`")
        return lines + self.notes

    def _checklist(self) -> list[tuple[str, object]]:
        if self.state == FAIL and not any(v.ok for v in self.judgement.verdicts[:-1]):
            return []  # nothing holds: the first sentence says it all
        marks = {True: "holds", False: "fails", None: "not run"}
        return [(marks[v.ok], v) for v in self.judgement.verdicts]

    def _checklist_html(self) -> str:
        rows = "".join(f"<li>{mark}: {escape(v.name)}</li>" for mark, v in self._checklist())
        return f"<ul style='margin:4px 0; padding-left:20px; color:{SOFT}'>{rows}</ul>" if rows else ""


def _why(verdict) -> str:
    """Why the failed property holds for a right answer; how close one must be is told only to who nearly is."""
    failure = verdict.failure
    if not (failure.shows_values and failure.has_answer):
        return ""
    if failure.has_expected and compare.difference(failure.got, failure.expected, NEAR) is None:
        return verdict.why
    return verdict.why.partition("Allowed difference:")[0].strip()
