"""The capstone of the learner's quantizer: the smallest artifact of their own that passes a gate fixed beforehand.

Their recipes of chapters 04 and 07 quantize the bot at fewer and at more bits. The gate is asked from the smallest
file upwards and the first that it lets through is it. Every artifact that was asked is a point on my curve.
"""

import torch

from course_lib.checks import curve, pieces, quantizer, render
from course_lib.evaluate.gate import Gate, Report, judge
from course_lib.scheme import Scheme

KL, LOST = 0.1, 2  # nats a token; exact replies that may be lost of the curve's messages
TRIALS = (("ch04", 3, 32), ("ch07", 4, None), ("ch04", 4, 32), ("ch04", 5, 32))  # from the smallest file up


def gate():
    """The policy; written down before anything is measured."""
    least = (curve.base().exact - LOST) / curve.MESSAGES
    return Gate(language={"kl_max": KL}, task={"accuracy_min": least})


def trial(chapter, bits, group, own):
    """(point of my curve, whose pieces, verdict, notes) of one artifact."""
    recipe = quantizer.recipe_of(chapter)
    scheme = Scheme.int(bits, group=group, scale_dtype=torch.float16)
    model, whose, notes = quantizer.quantized(recipe, scheme, own)
    point = curve.measure(model)
    point |= {"name": "ch14", "scheme": f"{chapter} {scheme}", "own": all(w == "yours" for w in whose.values())}
    report = Report(f"{chapter} {scheme.name}", {"kl": point["kl"], "accuracy": point["exact"] / point["n"]})
    return point, whose, judge(report, gate()), notes


class CapstoneRun(render.Sheet):
    """What was asked, from the smallest up; `chosen` is the point that passed, or None."""

    def __init__(self, trials, notes):
        self.trials, self.notes = trials, notes
        self.chosen = next((point for point, _, verdict, _ in trials if verdict.approved), None)

    @property
    def figure(self):
        """My curve as a matplotlib figure."""
        return curve.figure()

    def rows(self):
        """One row an artifact, and whose pieces the last one was made with."""
        told = [
            (
                verdict.name,
                f"{point['bytes'] / 1e6:.2f} MB: " + ("approved" if verdict.approved else verdict.reasons[0]),
            )
            for point, _, verdict, _ in self.trials
        ]
        return [*told, *(self.trials[-1][1].items() if self.trials else ())]

    def title(self):
        if self.chosen is None:
            return "Mine, ch14: none of these passes"
        return f"Mine, ch14: {self.chosen['bytes'] / 1e6:.2f} MB is the smallest that passes"


class CapstoneRecipe:
    """What `mine("ch14")` runs."""

    pieces = ("per_group", "restore", "search", "clip")

    def __call__(self):
        own, trials, notes = pieces.load(), [], []
        for asked in TRIALS:
            trials.append(trial(*asked, own))
            notes += trials[-1][3] + curve.keep(trials[-1][0])
            if trials[-1][2].approved:
                break
        run = render.show(CapstoneRun(trials, notes))
        if render.in_notebook():
            from course_lib import viz

            viz.show(run.figure, alt=curve.described())
        return run


RECIPE = CapstoneRecipe()
