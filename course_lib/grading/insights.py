"""`course insights PSNN`: which named mistakes a class has made and how often, as a table, JSON and a picture.

It reads what `course grade` has written into the gradebook, and runs nothing.
"""

import argparse
import io
import json
import re
import sys
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from course_lib.files import write_atomic
from course_lib.grading import overlay
from course_lib.grading.feedback_view import LOST, MISTAKE
from course_lib.grading.generate import ReleaseError, configuration

UNTRIED = re.compile(r"Not attempted|There is no cell |Nothing to check yet|Not checked yet")
UNNAMED = "no mistake that the set knows: read these answers"
MOST = 12  # bars in the picture


@dataclass
class Insight:
    """What a class did with one question; students are listed by id where it matters who."""

    id: str
    max_score: float
    scores: list[float] = field(default_factory=list)  # of those who tried
    untried: int = 0
    lost: dict = field(default_factory=lambda: defaultdict(Counter))  # property: what made students lose it
    mistakes: dict = field(default_factory=lambda: defaultdict(list))  # name: students
    diagnoses: dict = field(default_factory=dict)
    stopped: Counter = field(default_factory=Counter)  # why nothing could be tested: how many
    unnamed: list[str] = field(default_factory=list)  # tested, lost points, and no named mistake

    def add(self, student: str, score: float, reasons: list[str]) -> None:
        """Count one student's result."""
        if reasons and UNTRIED.match(reasons[0]):
            self.untried += 1
            return
        self.scores.append(score)
        lost = [found["name"] for found in map(LOST.match, reasons) if found]
        named = [found for found in map(MISTAKE.match, reasons) if found]
        for name in lost:
            self.lost[name][named[0]["name"] if named else UNNAMED] += 1
        for found in named:
            self.mistakes[found["name"]].append(student)
            self.diagnoses[found["name"]] = found["words"]
        if lost and not named:
            self.unnamed.append(student)
        elif reasons and not lost and not named:
            self.stopped[reasons[0].split(":")[0].rstrip(".")] += 1  # without the student's own words

    def report(self) -> dict:
        """The question's part of the JSON report."""
        tried = len(self.scores)
        return {
            "id": self.id, "max_score": self.max_score, "tried": tried, "not_tried": self.untried,
            "all_points": sum(score >= self.max_score for score in self.scores),
            "mean_score": sum(self.scores) / tried if tried else None,
            "properties": [
                {"name": name, "lost_by": by.total(), "by": dict(by.most_common())}
                for name, by in sorted(self.lost.items(), key=lambda one: -one[1].total())
            ],
            "mistakes": [
                {"name": name, "count": len(self.mistakes[name]), "students": sorted(self.mistakes[name]),
                 "diagnosis": self.diagnoses[name]}
                for name in sorted(self.mistakes, key=lambda name: (-len(self.mistakes[name]), name))
            ],
            "unnamed": {"count": len(self.unnamed), "students": sorted(self.unnamed)},
            "not_tested": [{"reason": reason, "count": count} for reason, count in self.stopped.most_common()],
        }  # fmt: skip


def insights(results: list[dict]) -> list[dict]:
    """The report's questions, from the results of a class as `course grade` has stored them.

    >>> reasons = ["lost 1: zeros (the result differs on a hidden case). Why.", "Likely mistake: no guard. Add one."]
    >>> q1 = {"id": "q1", "score": 3.0, "max_score": 4.0, "reasons": reasons}
    >>> found = insights([{"student": "anna", "questions": [q1]}])[0]
    >>> found["properties"]
    [{'name': 'zeros', 'lost_by': 1, 'by': {'no guard': 1}}]
    """
    found: dict[str, Insight] = {}
    for result in results:
        for question in result["questions"]:
            if question["score"] is not None:
                one = found.setdefault(question["id"], Insight(question["id"], question["max_score"]))
                one.add(result["student"], question["score"], question["reasons"])
    return [one.report() for one in found.values()]


def table(report: dict) -> str:
    """The report for a terminal or a projector: no student is named."""
    lines = [f"{report['assignment']}: {report['graded']} of {report['submissions']} submissions have a score"]
    for one in report["questions"]:
        mean = "-" if one["mean_score"] is None else f"{one['mean_score']:.1f}"
        lines += ["", f"{one['id']}  mean {mean} of {one['max_score']:g} · {one['tried']} tried it, "
                  f"{one['all_points']} have all points · {one['not_tried']} did not try"]  # fmt: skip
        lines += ["    lost by"] * bool(one["properties"])
        lines += [f"    {prop['lost_by']:4}  {prop['name']}" for prop in one["properties"]]
        made = [(m["count"], f"{m['name']}. {m['diagnosis']}") for m in one["mistakes"]]
        made += [(one["unnamed"]["count"], UNNAMED)] if one["unnamed"]["count"] else []
        made += [(n["count"], f"not tested: {n['reason']}") for n in one["not_tested"]]
        lines += ["    made by"] * bool(made)
        lines += [f"    {count:4}  {words}" for count, words in made]
    return "\n".join(lines)


def figure(report: dict):
    """The mistakes of the class as horizontal bars, the most frequent on top; hatched what the set cannot name."""
    from course_lib.viz.look import new_figure, styled
    from course_lib.viz.palette import light

    bars = []
    for q in report["questions"]:
        bars += [(m["count"], f"{q['id']}  {m['name']}", q["tried"], True) for m in q["mistakes"]]
        bars += [(q["unnamed"]["count"], f"{q['id']}  no known mistake", q["tried"], False)]
    bars = [bar for bar in bars if bar[0]]
    shown = sorted(bars, key=lambda bar: (-bar[0], bar[1]))[:MOST]

    @styled
    def draw():
        drawing, axes = new_figure(1.3 + 0.42 * max(1, len(shown)))
        for row, (count, _, tried, named) in enumerate(shown):
            look = {"color": light("blue")} if named else {"color": light("paper"), "hatch": "///"}
            axes.barh(row, count, height=0.66, edgecolor=light("blue"), linewidth=1.5, **look)
            words = f"{count} of {tried}"
            axes.annotate(words, (count, row), (7, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(shown)), [name for _, name, _, _ in shown])
        axes.invert_yaxis()
        axes.set(xticks=[], xlim=(0, 1.25 * max((bar[0] for bar in shown), default=1)))
        axes.set_xlabel(_below(report, bars, shown), loc="left")
        axes.spines[["bottom"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        drawing.suptitle(message(report), x=0.01, ha="left", fontsize=12, weight="bold")
        return drawing

    return draw()


def message(report: dict) -> str:
    """The one thing that the picture says.

    >>> message({"assignment": "ps01-x", "questions": []})
    'ps01: no named mistake in this class'
    """
    short = report["assignment"].split("-")[0]
    made = [(m["count"], q["tried"], q["id"], m["name"]) for q in report["questions"] for m in q["mistakes"]]
    if not made:
        return f"{short}: no named mistake in this class"
    count, tried, question, name = max(made, key=lambda one: (one[0], one[0] / one[1]))
    return f"{short}: “{name}” in {question} caught {count} of {tried}"


def _below(report: dict, bars: list, shown: list) -> str:
    words = f"students who made each mistake, of those who tried the question; {report['graded']} graded"
    rest = len(bars) - len(shown)
    return words + (f"\n{rest} rarer ones are left out" if rest else "")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="course insights",
        description="Which named mistakes a class has made, and how often, from what `course grade` has recorded. "
        "The table and the picture name no student; the JSON does.",
    )
    add = parser.add_argument
    add("set", metavar="PSNN", help="a problem set: ps01, or the whole name of its folder")
    add("--gradebook", metavar="URL", help="the gradebook, if it is not the course's own")
    add("--json", type=Path, metavar="FILE", help="write a report for programs")
    add("--plot", type=Path, metavar="FILE", help="write the mistakes as a picture: .png, .svg or .pdf")
    add("--source", type=Path, metavar="DIR", help="your private folder, or a folder of sets")
    return parser


def collect(options) -> dict:
    """The whole report. Errors: ValueError where nothing is graded yet."""
    course = overlay.opened(options.source).course
    name = course.sets([options.set])[0]
    rows = _rows(options.gradebook or course.gradebook, name, course)
    results = [result for _, _, result in rows.values() if result["score"] is not None]
    if not results:
        raise ValueError(f"Nothing of {name} is graded in this gradebook yet: run `course grade {options.set}` first.")
    return {"assignment": name, "submissions": len(rows), "graded": len(results), "questions": insights(results)}


def _rows(url: str, name: str, course) -> dict:
    from course_lib.grading.gradebook import Book

    path = Path(url.removeprefix("sqlite:///"))
    if url.startswith("sqlite:///") and not path.is_file():
        raise ValueError(f"There is no gradebook {path}: run `course grade` first, or name it with --gradebook.")
    with closing(Book(url, configuration(course))) as book:
        return book.results(name)


def _save(drawing, path: Path) -> None:
    """Write the picture whole or not at all."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg", "pdf"):
        raise ValueError(f"--plot must end in .png, .svg or .pdf, got {path.name!r}.")
    data = io.BytesIO()
    drawing.savefig(data, format=kind, bbox_inches="tight")
    write_atomic(path, data.getvalue())


def main(argv=None) -> int:
    """Run the command and return its exit status: 0, or 1 with one sentence."""
    options = _parser().parse_args(argv)
    try:
        report = collect(options)
        if options.json:
            write_atomic(options.json, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
        if options.plot:
            _save(figure(report), options.plot)
    except (ReleaseError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(table(report))
    return 0
