"""ch15.who_made: six quantized layers without labels, told apart by what their makers leave behind."""

import torch

from course_lib.checks import Exercise, Wrong
from course_lib.checks.ch15.layers import Made
from course_lib.checks.ch15.told import NEAREST, UPDATED, apart, named, same_after
from course_lib.checks.ch15.variants import by_output_error, by_weight_error, in_order, later, variant


def who_made(w, q, s, x):
    g = w.shape[1] // s.shape[1]
    share = 7.5 * s.abs() / w.abs().reshape(len(w), -1, g).amax(2)  # 1 where s = max|w|/7.5
    s = s.repeat_interleave(g, 1)
    moved = ((q - w / s).abs() > 0.55) & (q > -8) & (q < 7)  # not nearest, and not clipped either
    if not moved.any():
        if ((share - 7.5 / 8).abs() < 0.01).all():
            return "q4_0"
        return "mse" if (share < 0.98).any() else "rtn"
    loud = x.abs().mean(0)
    slope = (s * q * w).sum(0) / (w * w).sum(0)  # of the decoded weights over w, a column
    if torch.corrcoef(torch.stack([slope, loud]))[0, 1] > 0.7:
        return "awq"
    late = w.shape[1] // 2
    by_loudness = moved[:, loud.argsort(descending=True)]
    return "gptq" if moved[:, late:].sum() > by_loudness[:, late:].sum() else "act-order"


def _absolute(w, q, s, x):
    per_weight = s.repeat_interleave(w.shape[1] // s.shape[1], 1)
    moved = ((per_weight * q - w).abs() > 0.01) & (q > -8) & (q < 7)
    return in_order(moved, x.abs().mean(0), w, s) if moved.any() else who_made(w, q, s, x)


_SHAPES = ((16, 32, 32), (24, 96, 32), (32, 128, 64), (16, 64, 64))
_SEEDS = {  # layers on which several sound ways to look at the order of columns agree
    "rtn": (1, 7, 15, 3), "mse": (2, 8, 16, 4), "gptq": (9, 5, 4, 11), "act-order": (10, 6, 13, 12),
    "awq": (3, 9, 17, 5), "q4_0": (4, 10, 18, 6),
}  # fmt: skip

EXERCISE = Exercise(
    id="ch15.who_made",
    title="Six files without labels",
    spec='who_made(w, q, s, x): "rtn", "mse", "gptq", "act-order", "awq" or "q4_0"; ŵ = s·q, one s for each group.',
    kind="build",
    stub='''
def who_made(w, q, s, x):
    """Which of the six made the codes q (out, in), −8 … 7, and scales s (out, groups) of w, with inputs x (tokens, in)?

    "rtn": nearest, s = max|w|/7.5. "mse": nearest, s searched for the least squared error. "gptq"; "act-order": GPTQ,
    loudest inputs first. "awq": w times a factor a column, then "rtn". "q4_0": ggml's. Scales are stored in 16 bits.
    """
    ...
''',
    reference=who_made,
    piece="who_made",
    cases=[
        Made("rtn", 3, 4, 32, 32),
        Made("mse", 29, 4, 32, 32),  # two of four groups narrowed
        Made("mse", 103, 4, 32, 32),  # all four, and not each largest weight has the code -8
        *(
            Made(maker, seed, out, columns, 32 if maker == "q4_0" else group)
            for maker, seeds in _SEEDS.items()
            for seed, (out, columns, group) in zip(seeds, _SHAPES, strict=True)
        ),
    ],
    properties=[
        named(),
        apart("nearest is told from moved", NEAREST, (*UPDATED, "awq"), "Rounding leaves at most s/2 inside."),
        apart("narrowed ranges are told", ("rtn",), ("mse",), "A search only ever makes s smaller."),
        apart("ggml is told", ("q4_0",), ("rtn", "mse"), "Its scale has a sign and an 8."),
        apart("AWQ is told from GPTQ", ("awq",), UPDATED, "A factor a column moves a whole column."),
        apart("the order of columns is told", ("gptq",), ("act-order",), "Errors pile up along the way."),
        same_after(
            "units do not matter",
            lambda w, q, s, x: (1024 * w, q, 1024 * s, x / 4),
            "when w and s are 1024 times as large, and x a quarter. Compare ratios.",
        ),
        same_after(
            "rows have no order",
            lambda w, q, s, x: (w.flip(0), q.flip(0), s.flip(0), x),
            "when the outputs (rows) stand in another order. A maker leaves its traces in all of them.",
        ),
    ],
    wrong=[
        Wrong(
            "clipping taken for GPTQ",
            variant(ends=False),
            "An error over s/2 is no sign of GPTQ where the code is −8 or 7: a narrowed range clips there.",
        ),
        Wrong(
            "half a step to the last bit",
            variant(slack=0.5),
            "Scales are stored in 16 bits, so that w/s at a midpoint may lie a little beyond 0.5. Leave some slack.",
        ),
        Wrong(
            "scales compared to the last bit",
            variant(narrowed=lambda share, off: bool((share < 1).any())),
            'You say "mse" of each "rtn". The largest weight stands at 7.5 and its scale is rounded: neither an s just'
            " below max|w|/7.5 nor an error just over s/2 at the code 7 is a narrowed range. Ask for 1 or 2 percent.",
        ),
        Wrong(
            "max|w|/7, or equal to the last bit",
            variant(narrowed=lambda share, off: bool((share < 7.5 / 7 * 0.98).any())),
            'You say "mse" of every "rtn". Half the range of all 16 codes is 7.5 steps, not 7; and a stored scale is'
            " rounded to 16 bits, so that s equals max|w|/7.5 only to 0.4 percent. Ask for 1 or 2.",
        ),
        Wrong(
            "scales never equal",
            variant(q4=lambda *_: False, narrowed=lambda *_: True),
            'You say "mse" wherever codes are nearest. A stored scale is rounded to 16 bits: it equals max|w|/7.5, or'
            " max|w|/8 of ggml, only to 0.4 percent. Ask for 1.",
        ),
        Wrong(
            "the row's largest weight",
            variant(top=lambda w, g: w.abs().amax(1, keepdim=True)),
            "Each group has its own largest weight. You compare all scales of a row with the row's.",
        ),
        Wrong(
            "the largest weight without | |",
            variant(top=lambda w, g: w.reshape(len(w), -1, g).amax(2)),
            "The largest weight of a group may be negative: take |w| first.",
        ),
        Wrong(
            "all groups must be narrowed",
            variant(narrowed=lambda share, off: bool((share < 0.98).all())),
            "A search keeps the full range where that is best. One narrowed group is enough.",
        ),
        Wrong(
            "never narrowed",
            variant(narrowed=lambda share, off: False),
            'You never say "mse". Compare s with max|w|/7.5 of its group.',
        ),
        Wrong(
            "ggml overlooked",
            variant(q4=lambda *_: False),
            "Q4_0's s is max|w|/8, and looks narrowed. Its largest weight has the code −8 in every block.",
        ),
        Wrong(
            "−8 anywhere is ggml's",
            variant(q4=lambda share, q, s: bool((q == -8).any())),
            "Others use −8, too, for a large negative weight. In Q4_0 *every* block's largest weight has it.",
        ),
        Wrong(
            "groups of 32 are ggml's",
            variant(q4=lambda share, q, s: q.shape[1] // s.shape[1] == 32),
            "Any maker may take groups of 32. Look at what the scales and codes are.",
        ),
        Wrong(
            "a scale without its sign",
            variant(signed=False),
            "You divide by |s|. Q4_0's scales have a sign: with s as it is every code is the nearest.",
        ),
        Wrong(
            "scales laid out in turn",
            variant(spread=lambda s, g: s.repeat(1, g)),
            "s.repeat lays the scales out in turn, s0 s1 s0 s1. repeat_interleave gives a group's columns the same.",
        ),
        Wrong(
            "the first group's scale for all",
            variant(spread=lambda s, g: s[:, :1].expand(-1, g * s.shape[1])),
            "There is one scale for each group of columns. You use the first group's everywhere.",
        ),
        Wrong(
            "AWQ overlooked",
            variant(scaled=lambda *_: False),
            "Codes that are not nearest to w may be nearest to w·c. Fit a factor c for each column: in AWQ's layers c"
            " grows with mean |x| over all tokens, steadily, but never quite in line.",
        ),
        Wrong(
            "scales that are not the largest weight's are AWQ's",
            variant(scaled=lambda slope, loud, share: bool(((share - 1).abs() > 0.02).any())),
            "GPTQ finds a group's scale on weights that it has already moved: those differ from max|w|/7.5, too.",
        ),
        Wrong(
            "any slope but 1 is AWQ's",
            variant(scaled=lambda slope, loud, share: bool(((slope - 1).abs() > 0.05).any())),
            "With 16 rows a column's slope is not 1 by chance alone. AWQ's slopes go with mean |x|.",
        ),
        Wrong(
            "the mean of x",
            variant(loud=lambda x: x.mean(0)),
            "A loud channel swings to both sides, and its mean is near 0. Loudness is mean |x|.",
        ),
        Wrong(
            "one order only",
            variant(order=lambda *_: "gptq"),
            "GPTQ may take the loudest columns first. See along which order the moved codes begin with none.",
        ),
        Wrong(
            "the orders the other way round",
            variant(order=lambda m, x, w, h: "gptq" if in_order(m, x, w, h) == "act-order" else "act-order"),
            "Moved codes grow in number along the order that was taken. You take the order along which they do not.",
        ),
        Wrong(
            "ordered by the weights",
            variant(order=lambda m, x, w, h: later(m, w.abs().mean(0).argsort(descending=True))),
            "act-order sorts by H's diagonal, which is of the inputs. The weights' size plays no part.",
        ),
        Wrong(
            "scales told the order",
            variant(order=lambda m, x, w, h: "gptq" if ((h - 1).abs() > 0.02).any() else "act-order"),
            "Scales that are found beforehand (static groups, or one a row) say nothing about the order of columns.",
        ),
        Wrong(
            "the size of the error",
            by_weight_error,
            "How far ŵ is from w does not say why. Look where codes are not nearest, and what the scales are.",
        ),
        Wrong(
            "the error of the outputs alone",
            by_output_error,
            "It tells GPTQ from the rest, and no more. Three of the six round w to nearest, each with other scales.",
        ),
        Wrong(
            "the first output only",
            lambda w, q, s, x: who_made(w[:1], q[:1], s[:1], x),
            "One row is a small sample: most of GPTQ's codes are the nearest. Use all rows.",
        ),
        Wrong(
            "a threshold in the weights' unit",
            _absolute,
            "0.01 is much for one layer and little for another. Count in steps: divide by s.",
        ),
        Wrong(
            "capitals",
            lambda w, q, s, x: who_made(w, q, s, x).upper(),
            "The six names are written small, as in the docstring.",
        ),
        Wrong(
            "plain rounding, always",
            lambda w, q, s, x: "rtn",
            "Three questions: are the codes nearest? what are the scales? along which order do moved codes grow?",
        ),
    ],
    hints=[
        "Three questions. Are all codes nearest to w/s (but for −8 and 7, which clip)? If so: is s max|w|/7.5, max|w|/8"
        " or less? If not: does a factor a column explain it, or do moved codes grow along an order?",
        "w/s = 3.2, 3.7, 9.1 with codes 3, 4, 7: nearest, the last one clipped. With codes 3, 3, 7: 0.7 off between the"
        " ends, so that something was moved. Slope of a column: Σ ŵ·w / Σ w·w, near 1 for GPTQ, c for AWQ.",
        "    share = 7.5 * s.abs() / w.abs().reshape(len(w), -1, g).amax(2)\n"
        "    moved = ((q - w / s_per_weight).abs() > ____) & (q > -8) & (q < 7)\n"
        "    if not moved.any():\n        ... by share: 7.5/8 everywhere? below 1 somewhere?\n"
        "    slope = (s_per_weight * q * w).sum(0) / ____\n"
        "    ... does slope grow with x.abs().mean(0)?\n"
        "    ... more moved codes in the later half by place, or by loudness?",
    ],
    passed="An artifact without a label is a claim that you can test. `course origin` asks the same of whole files.",
)
