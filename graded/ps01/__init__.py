"""ps01, round trips and scales: references, cases, properties and known wrong answers."""

from course_lib.grading import scorer
from graded.ps01 import q1, q2, q3, q4, q5

SEED = 40_961_877
# question: what `course grade` hides from its sandbox, because it is the answer: modules of course_lib for certain,
# names of torch as a deterrent only
MASKS = {
    "q3": ("course_lib.checks.ch01", "course_lib.checks.ch02"),
    "q4": ("course_lib.checks.ch01", "course_lib.checks.ch02"),
    "q5": ("course_lib.qtensor", "course_lib.formats", "course_lib.checks.ch02", "torch.quantize_per_tensor",
           "torch.fake_quantize_per_tensor_affine"),
}  # fmt: skip


def build(seed):
    """The five questions, with hidden cases from this seed."""
    return [q.exercise(seed + 1000 * i) for i, q in enumerate((q1, q2, q3, q4, q5))]


score = scorer(build, SEED)
