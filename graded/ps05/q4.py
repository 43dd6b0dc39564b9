"""ps05.q4: AWQ's search with groups and zero points"""

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def search_groups(x, x_new, w, b, g, alphas):
    """The α of least output error on x, groups of g with zero points; its error on x_new, and the share it undoes."""
    loud = x.abs().mean(dim=0)
    loud = torch.where(loud > 0, loud, 1.0)

    def error(inputs, alpha):
        s = loud**alpha
        groups = (w * s).reshape(len(w), -1, g)
        low = groups.amin(dim=-1, keepdim=True).clamp(max=0)
        high = groups.amax(dim=-1, keepdim=True).clamp(min=0)
        step = torch.where(high > low, (high - low) / (2**b - 1), 1.0)
        zero = torch.round(-low / step)
        codes = (torch.round(groups / step) + zero).clamp(0, 2**b - 1)
        kept = ((codes - zero) * step).reshape(w.shape) / s
        return ((inputs @ (kept - w).T).square().sum() / (inputs @ w.T).square().sum()).item()

    best = min(alphas, key=lambda alpha: error(x, alpha))
    new = error(x_new, best)
    return {"alpha": best, "error": new, "undone": 1 - new / error(x_new, 0.0)}


def _zero_points(v, b, g, with_zero=True, ends=True):
    groups = v.reshape(len(v), -1, g)
    low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
    low, high = (low.clamp(max=0), high.clamp(min=0)) if with_zero else (low, high)
    step = torch.where(high > low, (high - low) / (2**b - 1), 1.0)
    zero = torch.round(-low / step)
    codes = torch.round(groups / step) + zero
    codes = codes.clamp(0, 2**b - 1) if ends else codes
    return ((codes - zero) * step).reshape(v.shape)


def _symmetric(v, b, g):
    groups = v.reshape(len(v), -1, g)
    step = groups.abs().amax(-1, keepdim=True) / (2 ** (b - 1) - 1)
    return (torch.round(groups / torch.where(step > 0, step, 1.0)) * step).reshape(v.shape)


def _loudness(x):
    loud = x.abs().mean(dim=0)
    return torch.where(loud > 0, loud, 1.0)


def _search(x, x_new, w, b, g, alphas, loud=_loudness, rounded=_zero_points, choose="x", judge="x_new", back=True,
            by="output", undone=lambda new, plain: 1 - new / plain):  # fmt: skip
    """The reference with one part changed."""
    texts = {"x": x, "x_new": x_new}

    def error(inputs, alpha, by="output"):
        s = loud(x) ** alpha
        kept = rounded(w * s, b, g)
        off = (kept / s if back else kept) - w
        if by == "weights":
            return off.square().sum().item()
        return ((inputs @ off.T).square().sum() / (inputs @ w.T).square().sum()).item()

    best = min(alphas, key=lambda alpha: error(texts[choose], alpha, by))
    new, plain = error(texts[judge], best), error(texts[judge], 0.0)
    return {"alpha": best, "error": new, "undone": undone(new, plain)}


def _whole_rows(v, b, g):
    return _zero_points(v, b, v.shape[1])


def _largest(x):
    loud = x.abs().amax(dim=0)
    return torch.where(loud > 0, loud, 1.0)


NAMES = ("the best alpha", "its error on new text", "the share undone", "dead channels, groups of one sign")

WRONG = [
    Mistake(
        "chosen on the new text",
        lambda *a: _search(*a, choose="x_new"),
        "x_new is there to judge. Whoever chooses on it has nothing left to judge with.",
        loses=NAMES[:3],
    ),
    Mistake(
        "judged on the text it was chosen on",
        lambda *a: _search(*a, judge="x"),
        "The error on x flatters, since x chose α. Measure on x_new.",
        loses=NAMES[1:],
    ),
    Mistake(
        "no zero points",
        lambda *a: _search(*a, rounded=_symmetric),
        "These groups are symmetric. With zero points all 2^b codes reach from the least to the largest weight.",
        loses=NAMES,
    ),
    Mistake(
        "one range a row",
        lambda *a: _search(*a, rounded=_whole_rows),
        "Every g neighbours have a step and a zero point of their own: a loud column then hurts its group only.",
        loses=NAMES,
    ),
    Mistake(
        "ranges without 0",
        lambda *a: _search(*a, rounded=lambda v, b, g: _zero_points(v, b, g, with_zero=False)),
        "A group of weights that are all positive still needs 0 in its range; else the zero point is no code.",
        loses=NAMES[3:],
    ),
    Mistake(
        "the factor left in",
        lambda *a: _search(*a, back=False),
        "The scaled weights meet inputs divided by s. Divide the rounded weights by s before you compare.",
        loses=NAMES,
    ),
    Mistake(
        "the error of the weights",
        lambda *a: _search(*a, by="weights"),
        "The nearest weights are not the best: α is chosen by the error of the output.",
        loses=NAMES[:3],
    ),
    Mistake(
        "the largest input",
        lambda *a: _search(*a, loud=_largest),
        "That is what SmoothQuant moves. AWQ's loudness is the mean |x|.",
        loses=NAMES,
    ),
    Mistake(
        "dead channels divide by 0",
        lambda *a: _search(*a, loud=lambda x: x.abs().mean(dim=0)),
        "A channel that is always 0 has loudness 0, and 0 / 0 is NaN. It keeps s = 1.",
        loses=NAMES[3:],
    ),
    Mistake(
        "the share that is left",
        lambda *a: _search(*a, undone=lambda new, plain: new / plain),
        "That is what remains. Undone is 1 less that, and it may be negative.",
        loses=NAMES[2:],
    ),
    Mistake(
        "a difference, not a share",
        lambda *a: _search(*a, undone=lambda new, plain: plain - new),
        "Divide the difference by the error at α = 0.",
        loses=NAMES[2:],
    ),
    Mistake(
        "codes beyond the last",
        lambda *a: _search(*a, rounded=lambda v, b, g: _zero_points(v, b, g, ends=False)),
        "Where both ends of a range are rounded up, the largest weight gets the code 2^b, which b bits cannot hold.",
        loses=NAMES[3:],
    ),
    Mistake(
        "loudness with its sign",
        lambda *a: _search(*a, loud=lambda x: torch.where(x.mean(0) != 0, x.mean(0).abs(), 1.0)),
        "Inputs of both signs cancel in mean x: loudness is the mean of |x|.",
        loses=NAMES,
    ),
]
CLOSE = (0, 2, 3, 6, 7)  # of WRONG: those whose α has to be another one in some case
ALPHAS = [0.0, 0.2, 0.4, 0.6, 0.8]


def _layer(seed, rows, cols, tokens, g):
    """Inputs of uneven loudness, weights in which every group has both signs."""
    generator = torch.Generator().manual_seed(seed)
    loud = 2.0 ** (1.5 * torch.randn(cols, generator=generator))
    heavy = torch.randn(2 * tokens, cols, generator=generator) ** 3 / 3  # far from a bell: mean and maximum disagree
    x, x_new = (heavy * loud).split(tokens)
    w = torch.randn(rows, cols, generator=generator)
    w = torch.where(w > 0, w * 1.5, w)  # lopsided
    groups = w.reshape(rows, -1, g)
    groups[..., 0], groups[..., 1] = groups[..., 0].abs(), -groups[..., 1].abs()
    return x, x_new, groups.reshape(rows, cols)


def _clear(args):
    """Whether the best α wins by 3 %."""
    x, _, w, b, g, alphas = args
    errors = sorted(_search(x, x, w, b, g, [alpha])["error"] for alpha in alphas)
    return errors[1] > 1.03 * errors[0]


def _cases(seed):
    return [
        Case("3 bits, groups of 8", *_layer(seed, 4, 16, 24, 8), 3, 8, ALPHAS),
        Case("3 bits, groups of 4", *_layer(seed + 1, 6, 16, 32, 4), 3, 4, ALPHAS),
        Case("4 bits, groups of 16", *_layer(seed + 2, 4, 32, 40, 16), 4, 16, [0.75, 0.5, 0.25, 0.0, 1.0]),
        Case("2 bits, groups of 8", *_layer(seed + 3, 8, 24, 48, 8), 2, 8, [0.3, 0.1, 0.5, 0.7]),
    ]


def _apart(cases):
    """Whether each close mistake chooses another α somewhere."""
    right = [search_groups(*case.args)["alpha"] for case in cases]
    return all(any(WRONG[k].answer(*c.args)["alpha"] != a for c, a in zip(cases, right, strict=True)) for k in CLOSE)


BOTH_UP = torch.tensor([[-3.5, 1.0, 3.5, 0.0]])  # a zero point of 3.5 and a largest code of 3.5: 4 + 4 is clipped


def _ends(seed):
    x, x_new, w = _layer(seed, 3, 16, 24, 8)
    x[:, 3], x_new[:, 3] = 0, 0
    w[:, 3] *= 6  # with s = 1 it sets the range of its group
    one_sign = 1 + w.abs()
    one_sign[-1] *= -1
    flat = w.clone()
    flat[0, :8] = 0
    return [
        Case("a channel that is always 0", x, x_new, w, 3, 8, [0.5]),
        Case("groups of one sign", *_layer(seed + 1, 3, 16, 24, 8)[:2], one_sign, 3, 8, [0.25]),
        Case("a group of zeros", x, x_new, flat, 3, 8, [0.75]),
        Case("both ends are ties", *2 * [torch.tensor([[1.0, 1, 1, 1], [2, 0, 2, 0]])], BOTH_UP, 3, 4, [0.0]),
    ]


def exercise(seed):
    drawn = (_cases(seed + 10 * i) for i in range(500))
    best = next(c for c in drawn if all(_clear(case.args) for case in c) and _apart(c))
    ends = _ends(seed + 7000)
    near = dict(rtol=1e-3, atol=1e-5)
    return question(
        "ps05.q4",
        "AWQ's search with groups and zero points",
        "search_groups(x, x_new, w, b, g, alphas): α chosen on x, its error on x_new, the share of the error undone.",
        search_groups,
        properties=[
            agrees(NAMES[0], best, "The output on x decides.", part="alpha", **near),
            agrees(NAMES[1], best, "Relative, on text that did not choose.", part="error", **near),
            agrees(NAMES[2], best, "1 less the error over that of α = 0, on x_new.", part="undone", **near),
            agrees(NAMES[3], ends, "s = 1 for a dead channel; every range holds 0.", **near),
        ],
        wrong=WRONG,
    )
