"""ps07, FP8 and FP4: references, cases, properties and known wrong answers."""

from course_lib.grading import scorer
from graded.ps07 import q1, q2, q3, q4, q5

SEED = 71_904_357
# question: what `course grade` hides from its sandbox, because it is the answer: modules of course_lib for certain,
# names of torch as a deterrent only
MASKS = {
    "q1": ("course_lib.formats.minifloat", "course_lib.checks.ch10"),
    "q2": ("course_lib.formats.microscaling", "course_lib.checks.ch10"),
    "q3": ("course_lib.checks.ch10",),
    "q4": ("course_lib.formats.microscaling", "course_lib.checks.ch10"),
}


def build(seed):
    """The five questions, with hidden cases from this seed."""
    return [q.exercise(seed + 1000 * i) for i, q in enumerate((q1, q2, q3, q4, q5))]


score = scorer(build, SEED)
