"""ps06, GGUF: references, cases, properties and known wrong answers."""

from course_lib.grading import scorer
from graded.ps06 import q1, q2, q3, q4, q5

SEED = 60_412_957
# question: what `course grade` hides from its sandbox, because it is the answer: modules of course_lib for certain,
# names of torch as a deterrent only
MASKS = {
    "q1": ("course_lib.formats.ggml", "course_lib.checks.ch09"),
    "q2": ("course_lib.artifacts.gguf", "course_lib.checks.ch08"),
    "q3": ("course_lib.artifacts.gguf", "course_lib.checks.ch08", "course_lib.checks.ch09"),
    "q4": ("course_lib.formats.ggml", "course_lib.checks.ch09"),
    "q5": ("course_lib.formats.ggml", "course_lib.checks.ch04", "course_lib.checks.ch09"),
}


def build(seed):
    """The five questions, with hidden cases from this seed."""
    return [q.exercise(seed + 1000 * i) for i, q in enumerate((q1, q2, q3, q4, q5))]


score = scorer(build, SEED)
