"""How long a class takes: `course grade` beside stock `nbgrader autograde`, on the same submissions, in turns.

    python benchmarks/grade_speed.py [--submissions 50] [--large 200] [--rounds 3] [--write]

The class is made from ps01's solutions: right answers, answers with a known mistake, untouched stubs, functions that
raise. A round runs stock nbgrader, one worker, two workers, a Dask cluster of two workers on this machine, and the
one-worker gradebook again, where nothing is left to do; every second round in the other order. One and two workers
also take a large class, for which the beginning counts less. All grade with the same secret seed and must give the
same scores. "Once running" leaves out the time until the first results, as the gradebook has recorded it. A sandbox's
processes die with their namespace, unseen by whoever counts CPU seconds: only the clock is believed.
"""

import argparse
import json
import os
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from record import record

from course_lib.files import repository
from course_lib.grading import notebooks, source
from course_lib.grading.generate import Course, generate

ROOT = repository()
FOLDER = next((ROOT / "solutions").glob("ps01-*"))
SET = source.load(FOLDER)
SIZES = (10, 1000, 100_000)
SEED = 2026  # of both graders' hidden cases
MISTAKES = {  # what a wrong answer has in the place of the right one
    "q1": [("-top, top - 1", "-top, top"), ("/ -top", "/ top"), ("w[w.abs().argmax()]", "w.max()")],
    "q2": [("near.float() < s, above, near", "near.float() <= s, above, near"), ("math.inf", "-math.inf")],
    "q3": [("squared[~clipped].sum", "squared[~clipped].mean"), ("10 * math", "20 * math"), ("w = w.double()", "")],
    "q4": [("range(2, 9)", "range(2, 8)"), (">= target_db", "> target_db"), ("return None", "return 8")],
    "q5": [("min(w.min().item(), 0.0)", "w.min().item()"), ("round(-low / s)", "int(-low / s)"), ("z, 0,", "z, 1,")],
}  # fmt: skip


def hand_in(submitted: Path, students: int) -> None:
    """A class: three answers of four are right, one of eight has a mistake, the rest are stubs or raise."""
    draw = random.Random(1)
    released = json.loads((ROOT / "exercises" / SET.name / f"{SET.notebook}.ipynb").read_text(encoding="utf-8"))
    right = {c.grade_id: notebooks.without_markers(c.source) for c in SET.cells if c.solution and not c.grade}
    for number in range(students):
        notebook = json.loads(json.dumps(released))
        for cell in notebook["cells"]:
            name = cell["metadata"].get("nbgrader", {}).get("grade_id")
            if name in right:
                cell["source"] = answer(right[name], name, cell["source"], draw)
        folder = submitted / f"s{number:03}" / SET.name
        folder.mkdir(parents=True)
        (folder / f"{SET.notebook}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")


def answer(right: str, name: str, stub: str, draw: random.Random) -> str:
    """One student's answer to one question."""
    kind = draw.random()
    if kind < 0.75:
        return right
    if kind < 0.875:
        before, after = draw.choice(MISTAKES[name])
        assert before in right, (name, before)
        return right.replace(before, after)
    head = right[: right.index(":\n") + 2]
    return stub if kind < 0.94 else f"{head}    raise ValueError(1)\n"


class Place:
    """A folder with one gradebook, and the two graders on the class."""

    def __init__(self, path: Path, submitted: Path, registered: Path):
        self.path, self.submitted, self.book = path, submitted, path / "gradebook.db"
        path.mkdir()
        shutil.copy(registered, self.book)

    def stock(self) -> list[str]:
        """To be run in this folder: the course's own nbgrader_config.py has autograde call `course grade`."""
        (self.path / "submitted").symlink_to(self.submitted)
        options = {"root": self.path, "db_url": f"sqlite:///{self.book}", "submitted_directory": "submitted",
                   "autograded_directory": "autograded"}  # fmt: skip
        options = [f"--CourseDirectory.{name}={value}" for name, value in options.items()]
        return [sys.executable, "-m", "nbgrader", "autograde", SET.name, "--Execute.timeout=60", *options]

    def course(self, *more: str) -> list[str]:
        options = ["--submitted", self.submitted, "--gradebook", f"sqlite:///{self.book}", *more]
        return [sys.executable, "-m", "course_lib", "grade", "ps01", *map(str, options)]

    def running_s(self, workers: int) -> float:
        """Seconds from one result to the next while all workers work."""
        with sqlite3.connect(self.book) as book:
            said = [row[0] for row in book.execute("select graded_at from course_result order by id")]
        times = [datetime.fromisoformat(text) for text in said]
        return (times[-1] - times[workers - 1]).total_seconds() / (len(times) - workers)

    def scores(self) -> dict[str, float]:
        """{student: points that were given automatically}."""
        ask = """select student.id, sum(grade.auto_score) from grade
                 join submitted_notebook n on n.id = grade.notebook_id
                 join submitted_assignment a on a.id = n.assignment_id
                 join student on student.id = a.student_id group by student.id"""
        with sqlite3.connect(self.book) as book:
            return dict(book.execute(ask))


def run(command: list[str], folder: Path = ROOT) -> dict:
    """Run a grader to its end: seconds by the clock, and the load before it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COURSE_SECRET_SEED": str(SEED)}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"  # nbgrader calls alembic by name
    load, began = os.getloadavg()[0], time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wall = time.perf_counter() - began
    if done.returncode:
        said = done.stdout.decode()[-3000:]
        raise SystemExit(f"{' '.join(command)}\nended with {done.returncode}:\n{said}")
    return {"wall_s": wall, "load_before": load}


def one_round(folder: Path, registered: Path, backwards: bool) -> dict[str, dict]:
    """Every run of one round, by name; both classes lie beside its folder."""
    folder.mkdir()
    classes = dict.fromkeys(("nbgrader", "one", "two", "cluster"), folder.parent / "submitted")
    classes |= dict.fromkeys(("one, large", "two, large"), folder.parent / "large")
    places = {name: Place(folder / name, handed_in, registered) for name, handed_in in classes.items()}
    steps = {
        "nbgrader": lambda: run(places["nbgrader"].stock(), places["nbgrader"].path),
        "one": lambda: run(places["one"].course()),
        "two": lambda: run(places["two"].course("--workers", "2")),
        "cluster": lambda: on_cluster(places["cluster"]),
        "one, large": lambda: run(places["one, large"].course()),
        "two, large": lambda: run(places["two, large"].course("--workers", "2")),
    }
    found = {}
    for name in reversed(steps) if backwards else steps:
        found[name] = steps[name]()
        if name != "nbgrader":
            found[name]["running_s"] = places[name].running_s(1 if name.startswith("one") else 2)
        print(f"  {name:10}", *(f"{key} {value:8.3f}" for key, value in found[name].items()), flush=True)
    found["again"] = run(places["one"].course()) | {"writing_s": writing_s(places["one"].book, registered)}
    scores = {name: place.scores() for name, place in places.items()}
    for name, one in scores.items():
        assert one == scores["one, large" if name.endswith("large") else "nbgrader"], scores
    return found


def on_cluster(place: Place) -> dict:
    """The class on two Dask workers of this machine."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as cluster:
        return run(place.course("--scheduler", cluster.scheduler_address))


def registered_book(folder: Path) -> Path:
    """A gradebook that knows the set and has the seed that both graders use."""
    from course_lib.grading.generate import configuration
    from course_lib.grading.gradebook import SEEDS, Book, insert, now

    course, book = Course(ROOT / "solutions"), folder / "registered.db"
    generate(course, SET.name, folder / "release", f"sqlite:///{book}")
    open_book = Book(f"sqlite:///{book}", configuration(course))
    open_book.db.execute(insert(SEEDS).values(assignment=SET.name, seed=SEED, drawn_at=now()))
    open_book.db.commit()
    open_book.close()
    return book


def summary(rounds: list[dict], students: int) -> dict[str, float]:
    """Medians over the rounds: ratios of runs in one round, and seconds a submission."""

    def median(name: str, key: str) -> float:
        return statistics.median(one[name][key] for one in rounds)

    def ratio(above: str, below: str, key: str) -> float:
        return statistics.median(one[above][key] / one[below][key] for one in rounds)

    running = {name: median(name, "running_s") for name in ("one", "two", "cluster")}
    figures = {
        "throughput of one worker, times nbgrader's": ratio("nbgrader", "one", "wall_s"),
        "throughput of two workers, times one's, whole command": ratio("one", "two", "wall_s"),
        "the same once running": ratio("one", "two", "running_s"),
        "the same for the large class, whole command": ratio("one, large", "two, large", "wall_s"),
        "the same for the large class, once running": ratio("one, large", "two, large", "running_s"),
        "s a submission, nbgrader": median("nbgrader", "wall_s") / students,
        "s a submission, one worker, whole command": median("one", "wall_s") / students,
        "s a submission, two workers, whole command": median("two", "wall_s") / students,
        "s a submission, one worker, once running": running["one"],
        "s a submission, two workers, once running": running["two"],
        "s to begin and end, one worker": median("one", "wall_s") - running["one"] * students,
        "s to begin and end, two workers": median("two", "wall_s") - running["two"] * students,
        "s to begin and end, cluster": median("cluster", "wall_s") - running["cluster"] * students,
        "s to write one result at home": median("again", "writing_s"),
        "s to find that all are graded": median("again", "wall_s"),
    }
    return {name: round(value, 4) for name, value in figures.items()}


def writing_s(graded: Path, registered: Path) -> float:
    """Seconds in which the home process writes one result into a fresh gradebook: no class is graded faster."""
    from course_lib.grading.generate import configuration
    from course_lib.grading.gradebook import Book

    with sqlite3.connect(graded) as book:
        rows = book.execute("select student, result, hash, measure from course_result order by id").fetchall()
    fresh = registered.with_name("written.db")
    shutil.copy(registered, fresh)
    into, times = Book(f"sqlite:///{fresh}", configuration(Course(ROOT / "solutions"))), []
    for student, result, *known in rows:
        began = time.perf_counter()
        into.save(SET, student, json.loads(result), *known)
        times.append(time.perf_counter() - began)
    into.close()
    return statistics.median(times)


def projection(figures: dict[str, float]) -> list[str]:
    """A table in Markdown: how long classes of three sizes would take, worked out from the figures."""
    begin, far = figures["s to begin and end, one worker"], figures["s to begin and end, cluster"]
    one, two = (figures[f"s a submission, {name}, once running"] for name in ("one worker", "two workers"))
    least = figures["s to write one result at home"]
    ways = {
        "stock nbgrader, one process": lambda n: n * figures["s a submission, nbgrader"],
        "`--workers 1`": lambda n: begin + n * one,
        "`--workers 2`": lambda n: begin + n * two,
        "10 machines of two cores": lambda n: far + n * max(two / 10, least),
        "100 machines of two cores": lambda n: far + n * max(two / 100, least),
    }
    lines = [f"| | {' | '.join(f'{n:,}' for n in SIZES)} |", "|---" * (len(SIZES) + 1) + "|"]
    return lines + [f"| {way} | {' | '.join(duration(of(n)) for n in SIZES)} |" for way, of in ways.items()]


def duration(seconds: float) -> str:
    """A time for people: 42 s, 3.5 min, 12 h."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}" if seconds < 20 * size else f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--submissions", type=int, default=50)
    parser.add_argument("--large", type=int, default=200, help="submissions of the class that is large; more than that")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="record the result in benchmarks/results/grade_speed.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="grade-speed-") as name:
        folder = Path(name)
        for name, students in (("submitted", args.submissions), ("large", args.large)):
            hand_in(folder / name, students)
        registered = registered_book(folder)
        rounds = []
        for number in range(args.rounds):
            print(f"round {number + 1}, load average {os.getloadavg()[0]:.2f}")
            rounds.append(one_round(folder / f"round{number}", registered, number % 2 == 1))
            shutil.rmtree(folder / f"round{number}" / "nbgrader", ignore_errors=True)
    figures = summary(rounds, args.submissions)
    for title, value in figures.items():
        print(f"{title:58} {value:8.3f}")
    table = projection(figures)
    print(*table, sep="\n")
    if args.write:
        about = {"set": SET.name, "submissions": args.submissions, "large": args.large, "priority": os.nice(0)}
        about["packages"] = {name: version(name) for name in ("nbgrader", "dask", "distributed")}
        record("grade_speed", {"figures": figures, "projection": table, "rounds": rounds}, **about)


if __name__ == "__main__":
    main()
