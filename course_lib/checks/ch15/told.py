"""What ch15.who_made asks of an answer: which makers it tells apart, and what to look at where it does not."""

from course_lib.checks import Property
from course_lib.checks.ch15.layers import MAKERS
from course_lib.checks.verdict import Failed, Failure

NEAREST, UPDATED = ("rtn", "mse", "q4_0"), ("gptq", "act-order")
_MOVED = "Between the ends {far} of {inner} codes are more than 0.55 off w/s. Nothing that only rounds w leaves those."
_ALL_NEAREST = (
    "Every code here is the nearest to w/s. Leave some slack (a scale in 16 bits is a little off), and leave out the"
    " codes −8 and 7: more than s/2 is a clip there."
)
_SIGNED = (
    "Every code here is the nearest to w/s. Divide by s as it is, for a scale of Q4_0 may be negative, and leave some"
    " slack: scales are stored in 16 bits, so that a few w/s lie a little beyond a midpoint."
)
_NO_FACTOR = "Fit ŵ ≈ c·w in each column: these c scatter about 1, and do not grow with mean |x|."
_FACTOR = "The codes follow w·c, not w, with one factor c a column. Fit it: c grows with mean |x|."
TOLD = {  # (who made it, what was said): what to look at
    ("rtn", "mse"): "Every scale here is {low:.3f} to {high:.3f} of its max|w|/7.5: rounded to 16 bits, no more.",
    ("rtn", "q4_0"): "These scales are max|w|/7.5. Q4_0's are max|w|/8, with a sign, so that the largest gets −8.",
    ("mse", "rtn"): "Codes are nearest, but one scale is {low:.2f} of max|w|/7.5: there the largest weight is cut off.",
    ("mse", "q4_0"): "The scales are {low:.2f} to {high:.2f} of max|w|/7.5. Q4_0's are max|w|/8, so all 0.94 of it.",
    ("q4_0", "rtn"): "In every block here the largest weight has the code −8: the scale is that weight / −8.",
    ("q4_0", "mse"): "No search finds max|w|/8 in every block. Here the largest weight always has the code −8.",
    ("gptq", "act-order"): "Count the moved codes of each column: none in column 0, and more the later it stands.",
    ("act-order", "gptq"): "Sort the columns by mean |x|, loudest first: along that order moved codes grow in number.",
    **{(a, b): _ALL_NEAREST for a in ("rtn", "mse") for b in (*UPDATED, "awq")},
    **{("q4_0", b): _SIGNED for b in (*UPDATED, "awq")},
    **{(a, b): _MOVED for a in UPDATED for b in NEAREST},
    **{(a, "awq"): _NO_FACTOR for a in UPDATED},
    **{("awq", b): _FACTOR for b in MAKERS if b != "awq"},
}


def named() -> Property:
    """The answer is one of the six names."""
    listed = ", ".join(map(repr, MAKERS))
    return _property("one of the six names", lambda run, case: run.case(case) in MAKERS or f"The names are {listed}.")


def apart(name: str, some, others, why: str) -> Property:
    """Layers made by some are not said to be of others, nor the other way round."""

    def holds(run, case):
        made, said = case.maker, run.case(case)
        mixed = (made in some and said in others) or (made in others and said in some)
        return TOLD[made, said].format(**_figures(*case.args)) if mixed else True

    return _property(name, holds, why)


def same_after(name: str, change, told: str) -> Property:
    """The answer is the same for change(w, q, s, x), which told says in words."""

    def holds(run, case):
        then = run(*change(*case.args))
        return then == run.case(case) or f"But {then!r} {told}"

    return _property(name, holds)


def _figures(w, q, s, _) -> dict:
    """How many codes between the ends are far off, out of how many, and the shares of max|w|/7.5 that scales are."""
    group = w.shape[1] // s.shape[1]
    inner = (q > -8) & (q < 7)
    far = inner & ((q - w / s.repeat_interleave(group, 1)).abs() > 0.55)
    share = 7.5 * s.abs() / w.abs().reshape(*s.shape, group).amax(2)
    return {"far": int(far.sum()), "inner": int(inner.sum()), "low": share.min().item(), "high": share.max().item()}


def _property(name: str, holds, why: str = "") -> Property:
    """holds(run, case) for every case. A layer has too many numbers to be shown: a failure says where it is."""

    def test(run):
        for case in run.cases:
            try:
                told = holds(run, case)
            except Failed as failed:
                failed.failure.inputs = {}
                raise
            if told is not True:
                said, at = run.outcome(case).value, [*run.exercise.cases].index(case)
                told = f"You said {said!r}. {told} The layer: w, q, s, x = check.{run.exercise.id}.cases[{at}].args"
                raise Failed(Failure(told, case.name, shows_values=True))

    return Property(name, test, why)
