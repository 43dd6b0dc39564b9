"""ps10, the approval gate: references, cases, properties and known wrong answers."""

from course_lib.grading import scorer
from graded.ps10 import q1, q2, q3, q4, q5

SEED = 40_771_259
# question: what `course grade` hides from its sandbox, because it is the answer: modules of course_lib
MASKS = {
    "q1": ("course_lib.evaluate.paired",),
    "q3": ("course_lib.evaluate.stats",),
    "q4": ("course_lib.evaluate.serving", "course_lib.evaluate.serving_worker"),
    "q5": ("course_lib.evaluate.gate", "course_lib.evaluate.paired"),
}


def build(seed):
    """The five questions, with hidden cases from this seed."""
    return [q.exercise(seed + 1000 * i) for i, q in enumerate((q1, q2, q3, q4, q5))]


score = scorer(build, SEED)
