"""Chapter 15's point on the curve: the bundled model trained under 3-bit rounding with the learner's gradients."""

import torch

from course_lib.calibrate.qat import FakeQuant, rows_of
from course_lib.checks import curve, pieces
from course_lib.checks.quantizer import MineRun
from course_lib.qtensor import gather_blocks, split_blocks
from course_lib.scheme import Scheme

STEPS, RATE, ROWS, SAMPLES, LENGTH = 40, 5e-4, 4, 64, 128
TRY_S = 180.0


class _Rounded(torch.autograd.Function):
    """Codes times step forward; backward is the learner's function."""

    @staticmethod
    def forward(ctx, w, s, b, gradients):
        ctx.save_for_backward(w, s)
        ctx.b, ctx.gradients = b, gradients
        top = 2 ** (b - 1) - 1
        return s * torch.round(w / s).clamp(-top, top)

    @staticmethod
    def backward(ctx, g):
        w, s = ctx.saved_tensors
        g_w, g_s = ctx.gradients(w, s, ctx.b, g.contiguous())
        return g_w.reshape(w.shape), g_s.reshape(s.shape), None, None


def fake_of(gradients):
    """A FakeQuant for symmetric schemes of one row a block whose gradients are `gradients(w, s, b, g)`."""

    class Mine(FakeQuant):
        def forward(self):
            split = split_blocks(self.w, self.scheme.block)
            blocks = gather_blocks(split)  # (rows, groups, group)
            w, s = blocks.flatten(0, 1), self.log_step.exp().reshape(-1, 1)
            return _Rounded.apply(w, s, self.scheme.bits, gradients).reshape(self.w.shape)

    return Mine


def batches(tokenizer):
    """The text to train on: prose, code and task alike, 4 windows a step."""
    from course_lib.calibrate import calibration_batches

    found = [torch.cat(calibration_batches(tokenizer, d, SAMPLES, LENGTH)) for d in ("prose", "code", "task")]
    shuffled = torch.cat(found)
    return rows_of([shuffled[torch.randperm(len(shuffled), generator=torch.Generator().manual_seed(0))]], ROWS)


class TrainRecipe:
    """What `mine("ch15")` runs: training with the learner's gradients, or the course's where theirs fail."""

    title, scheme, pieces = "3 bits, one scale for 64, trained", Scheme.int(3, group=64), ("gradients",)

    def train(self, functions):
        """The bundled model after STEPS steps under its own rounding."""
        from course_lib.calibrate import quantize_model

        base = curve.base()
        return quantize_model(base.model, self.scheme, "qat", batches(base.tokenizer), progress=None, steps=STEPS,
                              rate=RATE, fake=fake_of(functions.gradients))  # fmt: skip

    def __call__(self):
        curve.base()  # loaded before the clock starts: that is not the learner's time
        model, whose, notes = pieces.tried(self.pieces, self.train, TRY_S)
        point = curve.measure(model)
        point |= {"name": "ch15", "scheme": str(self.scheme), "own": whose["gradients"] == "yours"}
        return MineRun(self, point, whose, [*notes, *curve.keep(point)]).show()


def smallest(points, kl_max, exact_min):
    """The smallest point with KL at most kl_max and at least exact_min of its replies right, or None."""
    fit = [p for p in points if p["kl"] <= kl_max and p["exact"] >= exact_min * p["n"]]
    return min(fit, key=lambda p: p["bytes"], default=None)


RECIPE = TrainRecipe()
