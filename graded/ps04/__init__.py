"""ps04, GPTQ: references, cases, properties and known wrong answers."""

from course_lib.grading import scorer
from graded.ps04 import q1, q2, q3, q4, q5

SEED = 40_127_663
# question: what `course grade` hides from its sandbox, because it is the answer: modules of course_lib for certain,
# names of torch as a deterrent only
MASKS = {
    "q1": ("course_lib.calibrate.stats", "course_lib.checks.ch06"),
    "q2": ("course_lib.calibrate.gptq", "course_lib.calibrate.gptaq", "course_lib.checks.ch06"),
    "q3": ("course_lib.checks.ch06",),
    "q4": ("course_lib.artifacts", "course_lib.checks.ch06"),
}


def build(seed):
    """The five questions, with hidden cases from this seed."""
    return [q.exercise(seed + 1000 * i) for i, q in enumerate((q1, q2, q3, q4, q5))]


score = scorer(build, SEED)
