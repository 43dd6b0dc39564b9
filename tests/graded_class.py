"""A teacher's copy of the course with a small class, for tests: who handed in what, and the commands on it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from course_lib.files import repository
from course_lib.grading import notebooks, source

ROOT = repository()
PS01 = source.load(next((ROOT / "solutions").glob("ps01-*")))
REFERENCE = {c.grade_id: notebooks.without_markers(c.source) for c in PS01.cells if c.solution and not c.grade}

NOT_CLIPPED = """def spare_code(w, b):
    \"\"\"Codes and their scale.\"\"\"
    s = w[w.abs().argmax()].item() / -(2 ** (b - 1)) or 1.0
    return torch.round(w / s).to(torch.int8), s
"""
ROUNDED = "def scale_up(s):\n    return s.to(torch.bfloat16).float()\n"
LEAKY = "def split_error(w, s, b):\n    raise ValueError(str(w.tolist()))\n"
BROKEN = "def asym_round_trip(w, b):\n    return w <script>alert(2)</script>\n"
ANSWER = """1: Half of the maximum is best at 3 bits, 0.62 at 4 bits & all of it at 8 bits.
2: With each bit more the rounding error falls by about 6 dB; the clipping error <b>stays</b> as it is.

| share | SQNR |
|-------|------|
| 0.5   | 13.1 |
"""
CLASS = {  # student: (answers, first name, last name)
    "anna": (REFERENCE | {"explain": ANSWER}, "Anna", "Ångström"),
    "bert": (REFERENCE | {"q1": NOT_CLIPPED, "q2": ROUNDED}, "Bert", "O'Neill, jr."),
    "carl": ({}, "", ""),
    "dora": (REFERENCE | {"q3": LEAKY, "explain": "<script>alert(1)</script>"}, "Dora", "=SUM(A1)"),
    "emil": (None, "Emil", "Weiß"),  # a damaged file
    "fay": (REFERENCE | {"q5": BROKEN}, "Fay", "Wu"),
}


class Course:
    """A course folder as a teacher has it, with nothing handed in yet."""

    def __init__(self, root: Path):
        root.mkdir(parents=True, exist_ok=True)
        self.root, self.book = root, root / ".nbgrader" / "gradebook.db"
        skipped = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", *(f"ps{n:02}*" for n in range(2, 11)))
        for name in ("solutions", "graded"):
            shutil.copytree(ROOT / name, root / name, ignore=skipped)
        shutil.copy(ROOT / "nbgrader_config.py", root)

    def hand_in(self, student: str, answers: dict | None) -> None:
        """Put a notebook made from the released one (None: a damaged file) where the teacher downloads them."""
        notebook = notebooks.read(ROOT / "exercises" / PS01.name / f"{PS01.notebook}.ipynb")
        for raw in notebook["cells"]:
            raw["source"] = (answers or {}).get(raw["metadata"].get("nbgrader", {}).get("grade_id"), raw["source"])
        folder = self.root / "downloads"
        folder.mkdir(exist_ok=True)
        text = '{"cells": [' if answers is None else json.dumps(notebook)
        (folder / f"{student}.ipynb").write_text(text, encoding="utf-8")

    def run(self, *command, status: int | None = 0) -> str:
        """One `course …` or `nbgrader …` command; what it has printed."""
        module = "nbgrader" if command[0] == "nbgrader" else "course_lib"
        words = [sys.executable, "-m", module, *map(str, command[module == "nbgrader" :])]
        words += ["--source", str(self.root / "solutions")] if module == "course_lib" else []
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        here = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path, "COURSE_TIME_LIMIT": "3"}
        done = subprocess.run(words, cwd=self.root, env=here, capture_output=True, text=True)
        assert status is None or done.returncode == status, (
            f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout + done.stderr

    def grade(self, *more, status: int | None = 3) -> str:
        """Collect what was downloaded, and grade it."""
        self.run("collect", "ps01", self.root / "downloads", "--at", "2026-11-20T18:00+00:00")
        return self.run("grade", "ps01", *more, status=status)


def graded(root: Path) -> Course:
    """The class of six, handed in, on the roster and graded."""
    course = Course(root)
    for student, (answers, _, _) in CLASS.items():
        course.hand_in(student, answers)
    course.grade("--workers", "2")
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course.book}") as book:
        for student, (_, first, last) in CLASS.items():
            book.update_or_create_student(student, first_name=first, last_name=last, email=f"{student}@example.org")
    return course
