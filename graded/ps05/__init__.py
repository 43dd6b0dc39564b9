"""ps05, SmoothQuant and AWQ: references, cases, properties and known wrong answers."""

from course_lib.grading import scorer
from graded.ps05 import q1, q2, q3, q4, q5

SEED = 50_731_289
# question: what `course grade` hides from its sandbox, because it is the answer: modules of course_lib for certain,
# names of torch as a deterrent only
MASKS = {
    "q1": ("course_lib.calibrate.int8", "course_lib.checks.ch05"),
    "q2": ("course_lib.calibrate.smoothquant", "course_lib.checks.ch05"),
    "q3": ("course_lib.calibrate.smoothquant", "course_lib.calibrate.folds", "course_lib.checks.ch05"),
    "q4": ("course_lib.calibrate.awq", "course_lib.checks.ch07"),
    "q5": ("course_lib.calibrate.awq", "course_lib.checks.ch07"),
}


def build(seed):
    """The five questions, with hidden cases from this seed."""
    return [q.exercise(seed + 1000 * i) for i, q in enumerate((q1, q2, q3, q4, q5))]


score = scorer(build, SEED)
