"""An exercise, defined once: for the live check, the problem set, the grader and the proof that its checks work."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from course_lib.checks import compare, judge, launched, session

KINDS = ("build", "repair", "measure", "design", "explain", "break")


class Case:
    """Inputs of one call: `Case("ties", w, s, b)`. Arguments are tensors, numbers, strings, tuples, lists or dicts."""

    def __init__(self, name: str, *args, **kwargs):
        self.name, self.args, self.kwargs = name, args, kwargs

    def __repr__(self):
        return f"Case({self.name!r})"


@dataclass(frozen=True)
class Property:
    """A named claim about an answer. `test(run)` returns None or True when it holds, else False or a sentence.

    Most properties are written with `equals_reference`, `law` and `relation` instead.
    """

    name: str
    test: Callable
    why: str = ""
    points: float = 1.0


@dataclass(frozen=True)
class Wrong:
    """A plausible mistake: its short name, an answer that makes it, and the diagnosis that a learner reads.

    `like(value)` says whether another value makes the same mistake; without it, answers that behave alike do.
    """

    name: str
    answer: object
    diagnosis: str
    like: Callable | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Exercise:
    """One exercise; call it with an answer to have it checked.

    `reference` is the solution: a function written as the learner would write it, or, for an exercise whose answer
    is a value, that value (or a function without arguments that computes it) together with `solution`, its source.
    """

    id: str
    title: str
    spec: str
    kind: str
    stub: str
    reference: object
    properties: Sequence[Property]
    wrong: Sequence[Wrong]
    hints: Sequence[str]
    cases: Sequence[Case] = ()
    passed: str = ""  # one sentence shown on a pass
    piece: str | None = None  # the name under which a passed answer joins the learner's own quantizer
    points: float = 1.0
    solution_source: str | None = None
    alike: compare.Tolerance = compare.Tolerance(atol=1e-7, rtol=1e-5)  # answers this near make the same mistake
    launch: Callable | None = None  # where the answer is a Triton kernel: launch(kernel, *case)
    tells: Callable | None = None  # tells(answer): one sentence shown on a pass, before `passed`
    _tree: ast.Module = field(init=False, default=None)

    def __post_init__(self):
        if not re.fullmatch(r"(ch|ps)\d\d\.[a-z][a-z0-9_]*", self.id):
            raise ValueError(f"id must look like 'ch01.round_trip', got {self.id!r}")
        if self.kind not in KINDS:
            raise ValueError(f"kind of {self.id} must be one of {', '.join(KINDS)}, got {self.kind!r}")
        object.__setattr__(self, "stub", textwrap.dedent(self.stub).strip("\n"))
        object.__setattr__(self, "_tree", ast.parse(self.stub))
        if self.answer_name is None:
            raise ValueError(f"stub of {self.id} must define a function or assign a name")

    # what the exercise is

    @property
    def chapter(self) -> str:
        """The chapter's name, as in 'ch01'."""
        return self.id.split(".")[0]

    @property
    def name(self) -> str:
        """The part of the id after the chapter."""
        return self.id.split(".")[1]

    @property
    def takes_function(self) -> bool:
        """True when the answer is a function; False when it is a value."""
        return bool(self.cases)

    @property
    def answer_name(self) -> str | None:
        """The name that the stub defines last: a function's, or a variable's."""
        found = None
        for node in self._tree.body:
            if isinstance(node, ast.FunctionDef):
                found = node.name
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                found = node.targets[0].id
        return found

    @property
    def check_line(self) -> str:
        """The last line of the exercise's notebook cell."""
        return f"check.{self.id}({self.answer_name})"

    @property
    def cell(self) -> str:
        """The source of the exercise's notebook cell: the stub, an empty line, the check line."""
        return f"{self.stub}\n\n{self.check_line}"

    def reference_source(self) -> str:
        """The solution as source text: it replaces the stub in a solved notebook."""
        if self.solution_source is not None:
            return textwrap.dedent(self.solution_source).strip("\n")
        return _import_lines(self.stub) + textwrap.dedent(inspect.getsource(self.reference)).strip("\n")

    # what can be done with it

    def as_function(self, answer):
        """The answer as checks call it: a kernel comes with its launch, anything else is as it was."""
        if self.launch is None or not callable(answer):
            return answer
        return answer if isinstance(answer, launched.Launched) else launched.Launched(answer, self.launch)

    def judge(self, answer, seconds: float | None = None) -> "judge.Judgement":
        """Check an answer without showing or saving anything."""
        return judge.judge(self, answer, seconds)

    def grade(self, answer, seconds: float | None = None) -> "list[judge.Grade]":
        """One line a property: (property, ok, message, points). The messages show no case and no expected value."""
        return judge.grade(self, answer, seconds)

    def score(self, answer, seconds: float | None = None) -> float:
        """The points that an answer earns, out of `points`."""
        return sum(line.points for line in self.grade(answer, seconds) if line.ok)

    def usable(self, answer) -> tuple:
        """(an answer to go on with, whose it is): the learner's where it passes, else the course's."""
        return (answer, "yours") if self.judge(answer).state == judge.PASS else (self.reference, "the course's")

    def __call__(self, answer=...):
        """Check an answer, show the result, save the progress; returns the Result."""
        return session.check(self, answer)

    def hint(self, number: int | None = None):
        """Show the next hint (or that number): the idea, then a smaller worked case, then a skeleton with blanks."""
        return session.hint(self, number)

    def solution(self, now: bool = False):
        """Show the course's solution, after at least one attempt, or at once with now=True."""
        return session.solution(self, now)

    def __repr__(self):
        return f"{self.id} ({self.kind}): {self.spec}"


def _import_lines(stub: str) -> str:
    """The stub's own top-level imports, which a solution needs as well."""
    tree = ast.parse(stub)
    lines = [ast.get_source_segment(stub, n) for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
    return "".join(f"{line}\n" for line in lines) + ("\n\n" if lines else "")
