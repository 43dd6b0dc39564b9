"""ps08, KV cache: references, cases, properties and known wrong answers."""

from course_lib.grading import scorer
from graded.ps08 import q1, q2, q3, q4, q5

SEED = 38_260_417
# question: what `course grade` hides from its sandbox, because it is the answer: modules of course_lib
MASKS = {
    "q1": ("course_lib.kvcache.paging",),
    "q2": ("course_lib.kvcache.layers", "course_lib.kvcache.sizing"),
    "q5": ("course_lib.capacity.plan",),
}


def build(seed):
    """The five questions, with hidden cases from this seed."""
    return [q.exercise(seed + 1000 * i) for i, q in enumerate((q1, q2, q3, q4, q5))]


score = scorer(build, SEED)
