"""A grader as one would write it in an evening: cells and tests share one process. The bank must catch what it lets by.

    python -m tests.hostile.naive SUBMITTED REPORT FEEDBACK [SEED …]

It follows links, believes the first notebook it finds, replaces the locked cells by the instructor's, runs everything
in one IPython shell, believes what the test cells return, and repeats all output on a page. One fork a student, so
that a whole class takes seconds. Run it in a bubblewrap of its own: students can do here whatever it can.
"""

import contextlib
import io
import json
import os
import signal
import sys
import time
from pathlib import Path

import torch  # noqa: F401 - imported once, before the forks
from IPython.core.interactiveshell import InteractiveShell

from tests.hostile import bank

SECONDS = 600  # on a very busy machine


def run(notebook: dict, tests: dict) -> tuple[dict, str]:
    """Points of each question, and the page: all that was printed, shown or raised, as it came."""
    shell, points, page = InteractiveShell.instance(), {}, []
    for cell in notebook["cells"]:
        source, name = "".join(cell["source"]), bank.grade_id(cell)
        source = tests.get(name, source)
        if cell.get("id") == "explain-run":
            continue  # it measures for a second, and earns nothing
        if cell["cell_type"] != "code":
            page.append(f"<div>{source}</div>")
            continue
        for output in cell.get("outputs", []):
            page += [str(part) for part in output.get("data", {}).values()]
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            result = shell.run_cell(source)
        page += [f"<pre>{said.getvalue()}</pre>"]
        if name in tests and result.success and isinstance(result.result, int | float):
            points[name.removesuffix("-test")] = max(0.0, min(bank.POINTS, float(result.result)))
    return points, "\n".join(page)


def grade(folder: Path, tests: dict, out: Path, seeds: list[int]) -> None:
    """In a fork: write the points and the page of one student."""
    path = sorted(folder.glob("*/*.ipynb"))[0]
    os.chdir(path.parent)
    notebook = json.loads(path.read_text(encoding="utf-8"))
    (out / "page.html").write_text("it has begun")
    points, page = run(notebook, tests)
    page += "".join(p.read_text() for p in sorted(Path.cwd().glob("*.txt")) if p.is_file())
    (out / "page.html").write_text(page, encoding="utf-8", errors="replace")
    (out / "points.json").write_text(json.dumps(points))
    (out / "also.json").write_text(json.dumps(with_other_seeds(seeds)))


def with_other_seeds(seeds: list[int]) -> list[dict]:
    """The points of the same answers on other hidden cases, each from the question's own Exercise.judge."""
    from graded import ps01

    found, names = [], InteractiveShell.instance().user_ns
    for seed in seeds:
        exercises = ps01.build(seed)
        found.append({e.name: points_of(e, e.judge(names.get(e.answer_name))) for e in exercises})
    return found


def points_of(exercise, judgement) -> float:
    """The points of the properties that hold."""
    if judgement.message:
        return 0.0
    pairs = zip(exercise.properties, judgement.verdicts, strict=False)
    return float(sum(prop.points for prop, verdict in pairs if verdict.ok))


def wait(child: int) -> None:
    """Until the fork has ended, or for SECONDS."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def main(submitted: Path, report: Path, feedback: Path, seeds: list[int]) -> None:
    """Grade everybody."""
    tests = {
        bank.grade_id(cell): "".join(cell["source"]) for cell in json.loads(bank.source_path().read_text())["cells"]
    }
    tests = {name: source for name, source in tests.items() if name and name.endswith("-test")}
    submissions = []
    for folder in sorted(submitted.iterdir()):
        out = feedback / folder.name
        out.mkdir(parents=True)
        child = os.fork()
        if not child:
            try:
                grade(folder, tests, out, seeds)
            finally:
                os._exit(0)
        wait(child)
        done = (out / "points.json").exists()
        points = json.loads((out / "points.json").read_text()) if done else {}
        questions = [
            {"id": q, "score": points.get(q, 0.0), "max_score": bank.POINTS, "reasons": []} for q in bank.QUESTIONS
        ]
        also = json.loads((out / "also.json").read_text()) if (out / "also.json").exists() else []
        submissions.append({
            "student": folder.name, "assignment": "ps01", "status": "graded", "questions": questions,
            "score": sum(points.values()), "max_score": 20.0, "also": also,
        })  # fmt: skip
    report.write_text(json.dumps({"submissions": submissions}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), list(map(int, sys.argv[4:])))
