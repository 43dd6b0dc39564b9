"""Chapter 13's part of the learner's quantizer: the gate in front of it, built from their own pieces.

`mine("ch13")` takes the model that their rounding of chapter 04 makes, asks it MESSAGES requests beside the 16-bit one,
and lets their `mcnemar`, `items` and `judge` say whether it may serve.
"""

import functools

from course_lib.checks import curve, pieces, quantizer, render

MESSAGES, SEED, CHAPTER = 60, 1313, "ch04"
LIMITS = {"kl_max": 0.1, "drop_high_max": 0.03, "mib_max": 2.0}
FLIPS, TRY_S = 0.05, 20.0


@functools.cache
def asked():
    """(examples, which of them the 16-bit model gets right)."""
    from course_lib import evaluate, models

    examples, base = models.task.generate(MESSAGES, SEED), curve.base()
    found = evaluate.task_accuracy(base.model, base.tokenizer, examples, progress=False, replies_only=True)
    return examples, found.correct


def measure(model) -> tuple[dict, tuple, tuple]:
    """Figures by name, and both models' replies, right or wrong."""
    from course_lib import calibrate, evaluate
    from course_lib.evaluate.paired import paired

    (examples, right), base = asked(), curve.base()
    found = evaluate.task_accuracy(model, base.tokenizer, examples, progress=False, replies_only=True)
    figures = {
        "kl": base.reference.compare(model, progress=False).kl,
        "drop_high": paired(right, found.correct).drop_high(),
        "mib": calibrate.model_bytes(model) / 2**20,
    }
    return figures, right, found.correct


def judged(functions, measured) -> dict:
    """What the pieces say about what was measured."""
    figures, base, other = measured
    return {
        "p": float(functions.mcnemar(list(base), list(other))),
        "needed": int(functions.items(LIMITS["drop_high_max"], FLIPS, 0.05, 0.8)),
        "shut": list(functions.judge(figures, LIMITS)),
    }


class GateRun(render.Sheet):
    """One run of *mine* of this chapter; `verdict` holds p, the items needed and the limits that hold it shut."""

    def __init__(self, measured, verdict, whose, notes):
        (self.figures, self.base, self.other), self.verdict = measured, verdict
        self.whose, self.notes = whose, notes

    def rows(self):
        """Figures, verdict and whose pieces gave it."""
        f, v = self.figures, self.verdict
        lost = sum(a and not b for a, b in zip(self.base, self.other, strict=True))
        won = sum(b and not a for a, b in zip(self.base, self.other, strict=True))
        return [
            ("KL, nats a token", f"{f['kl']:.4f} (at most {LIMITS['kl_max']})"),
            ("replies lost, won", f"{lost}, {won} of {MESSAGES}; p = {v['p']:.3g}"),
            ("may have been lost", f"up to {100 * f['drop_high']:.1f} points (at most 3)"),
            ("size", f"{f['mib']:.2f} MiB (at most {LIMITS['mib_max']:g})"),
            ("items that show 3 points at 5 % flips", f"{v['needed']}; {MESSAGES} were asked"),
            ("verdict", "it may serve" if not v["shut"] else f"held back by {', '.join(v['shut'])}"),
            *self.whose.items(),
        ]

    def title(self):
        return "Mine, ch13: your gate in front of your own 4-bit bot"


class GateRecipe:
    """What `mine("ch13")` runs: the learner's pieces, or the course's where theirs are missing, slow or broken."""

    pieces = ("mcnemar", "items", "judge")

    def __call__(self):
        model, rounded, notes = quantizer.model_of(CHAPTER)
        measured = measure(model)
        verdict, whose, more = pieces.tried(self.pieces, lambda own: judged(own, measured), TRY_S)
        return render.show(GateRun(measured, verdict, rounded | whose, notes + more))


RECIPE = GateRecipe()
