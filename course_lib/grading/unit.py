"""The unit of work: one submission in, one result out; no file, no gradebook, no other submission."""

import hashlib
from dataclasses import dataclass, field

from course_lib.checks.limit import now
from course_lib.checks.run import time_limit_s
from course_lib.grading import autograded, match, submission
from course_lib.grading.match import Found, defines, unchanged
from course_lib.grading.proxy import Answers, Job
from course_lib.grading.replies import printable
from course_lib.grading.results import Score, entry, unreadable
from course_lib.grading.score import score
from course_lib.grading.source import Assignment, Question
from course_lib.grading.submission import Submission, Unreadable

SUBMISSION_S = 180.0  # after so long no further question is begun; in seconds of `limit.now`
EMPTY = "Not attempted: the cell is empty, or as you found it."


@dataclass
class Context:
    """What grading a submission needs beside it: the assignment, a template, and what is hidden from each question."""

    assignment: Assignment
    template: object
    masks: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def job(self, found: Found, question: Question, skipped: set[int]) -> Job:
        """What a question's sandbox gets."""
        cells = [(cell.at, cell.source) for cell in found.before(question) if cell.at not in skipped]
        hidden = self.masks.get(question.id, ())
        modules = tuple(name for name in hidden if name.startswith("course_lib."))
        removed = tuple(name for name in hidden if name not in modules)
        return Job(cells, question.names, modules, removed, min(20.0, time_limit_s()))


def grade(handed_in: Submission, context: Context) -> dict:
    """One submission's result: the entry of the report, and the notebook for nbgrader as "notebook"."""
    try:
        found, notes, repairs = _read(handed_in, context.assignment)
    except Unreadable as problem:
        return unreadable(handed_in, context.assignment, str(problem))
    scores, skipped = {}, set()
    end = now() + SUBMISSION_S
    for question in context.assignment.questions:
        scores[question.id] = _question(question, found, context, skipped, end)
    answered = [w for w in context.assignment.written if not unwritten(found, w)]
    status = "recovered" if repairs else "needs_manual" if answered else "graded"
    result = entry(handed_in, context.assignment, status, scores, repairs + notes)
    result["written"] = {w.id: w in answered for w in context.assignment.written}
    result["texts"] = {w.id: _digest(found.written.get(w.id, "")) for w in context.assignment.written}
    result["notebook"] = autograded.build(context.assignment, found, scores, repairs + notes)
    return result


def _digest(text: str) -> str:
    """What identifies a written answer, however it is broken into lines."""
    return hashlib.sha256(" ".join(text.split()).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _read(handed_in: Submission, assignment: Assignment) -> tuple[Found, list[str], list[str]]:
    """The best of the notebooks handed in, what is worth saying, and what had to be put right."""
    if handed_in.problem:
        raise Unreadable(handed_in.problem)
    candidates, problems = [], []
    for name, data in handed_in.files:
        try:
            notebook, repairs = submission.parse(data)
            found = match.find(notebook, assignment)
            candidates.append((_quality(found, assignment, name), name, found, repairs + found.repairs))
        except Unreadable as problem:
            problems.append(str(problem))
    if not candidates:
        raise Unreadable(" ".join(problems))
    quality, name, found, repairs = max(candidates, key=lambda c: (c[0], c[1]))
    if not quality[0] and not quality[1]:
        raise Unreadable("The notebook holds none of the set's answers.")
    repairs = [*handed_in.repairs, *repairs]
    if name != f"{assignment.notebook}.ipynb":
        repairs.append(f"The notebook is called {name!r}.")
    if len(candidates) > 1:
        repairs.append(f"There are {len(candidates)} notebooks; {name!r} was graded.")
    return found, [*handed_in.notes, *problems], repairs


def _quality(found: Found, assignment: Assignment, name: str) -> tuple:
    """How good a candidate is: attempted questions, then known ones, then whether it is called as it should be."""
    known = [q for q in assignment.questions if found.of(q)]
    attempted = [q for q in known if not unattempted(found, q)]
    return len(attempted), len(known) + len(found.written), name == f"{assignment.notebook}.ipynb"


def unattempted(found: Found, question: Question) -> bool:
    """Whether a question's cell is still the stub, and no other cell defines what it asks for."""
    own = [cell for cell in found.cells if cell.id == question.id]
    if any(cell.source.strip() and not unchanged(cell.source, question.stub) for cell in own):
        return False
    others = [cell for cell in found.before(question) if cell.id != question.id]
    return not any(defines(cell.source, name) for cell in others for name in question.names)


def unwritten(found: Found, answer) -> bool:
    """Whether a written answer is missing, or still what was released."""
    text = found.written.get(answer.id, "")
    return not text.strip() or text.split() == answer.stub.split()


def _question(question: Question, found: Found, context: Context, skipped: set[int], end: float) -> Score:
    """Grade one question in a sandbox of its own."""
    if not found.of(question):
        return Score(0.0, [f"There is no cell {question.id} in the notebook."])
    if unattempted(found, question):
        return Score(0.0, [EMPTY])
    if now() > end:
        return Score(0.0, ["Not run: the time for the whole notebook was used up before."])
    answers = Answers(context.template, context.job(found, question, skipped))
    own = {cell.at for cell in found.of(question)}
    try:
        _start(answers, skipped, own, found, question, context)
        problem = _missing(question, answers, own)
        return Score(0.0, [problem]) if problem else score(question, answers)
    finally:
        answers.end()


def _start(answers: Answers, skipped: set[int], own: set[int], found: Found, question: Question, context) -> None:
    """Run the cells; those that never end, or end the process, are left out, but for the question's own."""
    while True:
        answers.start()
        outcome = answers.outcome
        late = {at for at, error in outcome.errors.items() if error["type"] == "TimeUp"}
        skipped |= late - own
        if outcome.fatal is None or outcome.fatal in own or outcome.fatal == -1 or answers.starts >= 3:
            return
        skipped.add(outcome.fatal)
        answers.job = context.job(found, question, skipped)


def _missing(question: Question, answers: Answers, own: set[int]) -> str:
    """Why there is nothing to test, or nothing."""
    outcome = answers.outcome
    if outcome.fatal is not None:
        why = {"memory": "used too much memory", "it took too long": "did not end in time"}.get(outcome.why)
        return f"A cell before the test {why or 'ended the process'}, so nothing could be tested."
    there = [answers.described[name] for name in question.names if name in answers.described]
    if any(kind != "unreadable" for kind, _ in there):
        return ""
    if there:
        return f"Your {question.names[-1]} is neither a function nor a plain value: {printable(there[-1][1])[:100]}."
    errors = [outcome.errors[at] for at in sorted(own) if at in outcome.errors]
    if not errors:
        return f"There is no {question.names[-1]} after the notebook has run."
    error = errors[-1]
    if error["type"] == "TimeUp":
        return "Your cell did not end in time."
    where = f" on line {error['number']}: {error['line']}" if error["number"] else ""
    return f"Your cell stopped with {error['type']}: {error['text']}{where}".rstrip(": ")
