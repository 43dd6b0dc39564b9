"""ch07.clip: cut a row's range where that helps the output."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law


def clip(x, w, b, shares):
    qmax = 2 ** (b - 1) - 1
    top = w.abs().amax(dim=1, keepdim=True)
    errors = []
    for c in shares:
        step = c * top / qmax
        kept = torch.round(w / step).clamp(-qmax, qmax) * step
        errors.append((x @ (kept - w).T).square().sum(dim=0))
    return torch.tensor(shares)[torch.stack(errors).argmin(dim=0)]


def _kept(w, b, c):
    qmax = 2 ** (b - 1) - 1
    step = c * w.abs().amax(dim=1, keepdim=True) / qmax
    return torch.round(w / step).clamp(-qmax, qmax) * step


def _choose(error, pick=torch.argmin):
    def variant(x, w, b, shares):
        return torch.tensor(shares)[pick(torch.stack([error(x, w, b, c) for c in shares]), dim=0)]

    return variant


def _output(x, w, b, c):
    return (x @ (_kept(w, b, c) - w).T).square().sum(0)


def _of_the_weights(x, w, b, c):
    return (_kept(w, b, c) - w).square().sum(1)


def _one_for_all(x, w, b, c):
    return _output(x, w, b, c).sum().expand(len(w))


def _one_range(x, w, b, c):
    qmax = 2 ** (b - 1) - 1
    step = c * w.abs().max() / qmax
    return (x @ (torch.round(w / step).clamp(-qmax, qmax) * step - w).T).square().sum(0)


def _after_the_cut(x, w, b, c):
    top = c * w.abs().amax(1, keepdim=True)
    return (x @ (_kept(w, b, c) - torch.maximum(torch.minimum(w, top), -top)).T).square().sum(0)


def _one_code_more(x, w, b, c):
    qmax = 2 ** (b - 1) - 1
    step = c * w.abs().amax(1, keepdim=True) / qmax
    return (x @ (torch.round(w / step).clamp(-qmax - 1, qmax) * step - w).T).square().sum(0)


def _by_tokens(x, w, b, shares):
    errors = torch.stack([(x @ (_kept(w, b, c) - w).T).square().sum(1) for c in shares])
    return torch.tensor(shares)[errors.argmin(0)]


def _places(x, w, b, shares):
    return torch.stack([_output(x, w, b, c) for c in shares]).argmin(0)


def _unclamped(x, w, b, c):
    step = c * w.abs().amax(1, keepdim=True) / (2 ** (b - 1) - 1)
    return (x @ (torch.round(w / step) * step - w).T).square().sum(0)


def _step_kept(x, w, b, c):
    qmax, top = 2 ** (b - 1) - 1, w.abs().amax(1, keepdim=True)
    step = top / qmax
    cut = torch.maximum(torch.minimum(w, c * top), -c * top)
    return (x @ (torch.round(cut / step) * step - w).T).square().sum(0)


def _signed(x, w, b, c):
    return (x @ (_kept(w, b, c) - w).T).sum(0).abs()


def _shape(got, x, w, b, shares):
    return got.shape == (len(w),) or f"One share a row, ({len(w)},); yours has the shape {tuple(got.shape)}."


def _none_is_better(got, x, w, b, shares):
    errors = torch.stack([_output(x, w, b, c) for c in shares])
    for i in range(len(w)):
        mine = min(range(len(shares)), key=lambda k: abs(shares[k] - got[i].item()))
        if not abs(shares[mine] - got[i].item()) < 1e-4:
            return f"Row {i}: {got[i]:.4g} is not one of the shares {', '.join(f'{c:g}' for c in shares)}."
        best = int(errors[:, i].argmin())
        if errors[mine, i] > errors[best, i] * 1.0001:
            return (f"Row {i}: c = {shares[mine]:g} leaves a squared error of {errors[mine, i]:.4g}, "
                    f"c = {shares[best]:g} only {errors[best, i]:.4g}.")  # fmt: skip
    return True


def _layer(seed, tokens, channels, outputs, quiet, smaller=1.0):
    """A layer whose first channel has large weights and inputs that are `quiet` times as loud as the others.

    Each row is `smaller` times as large as the one before.
    """
    g = torch.Generator().manual_seed(seed)
    x, w = torch.randn(tokens, channels, generator=g), torch.randn(outputs, channels, generator=g)
    x[:, 0], w[:, 0] = x[:, 0] * quiet, 3 * w[:, 0].sign()
    return x, w * smaller ** torch.arange(outputs)[:, None]


SHARES = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5]

EXERCISE = Exercise(
    id="ch07.clip",
    title="Cut the range",
    spec="clip(x, w, b, shares): each row's c for which a range of ±c·max|w| leaves least squared output error.",
    kind="design",
    stub='''
def clip(x, w, b, shares):
    """(out,): for each row of w (out, in) the c of `shares` that errs least in x @ w.T; a step is c·max|w| / qmax."""
    ...
''',
    reference=clip,
    piece="clip",
    cases=[
        Case("a large weight that hardly anything meets", *_layer(0, 4, 4, 2, 0.05), 3, [1.0, 0.75, 0.5]),
        Case("a large weight on a loud channel", *_layer(1, 4, 4, 2, 8.0), 3, [1.0, 0.75, 0.5]),
        Case("a small row under a large one", *_layer(8, 4, 4, 2, 0.05, smaller=0.25), 3, [1.0, 0.75, 0.5]),
        Case("one row", *_layer(2, 3, 5, 1, 0.3), 3, SHARES),
        Case("rows that want different things", *_layer(3, 8, 8, 6, 0.5), 3, SHARES),
        Case("shares in another order", *_layer(4, 8, 8, 4, 0.2), 3, [0.5, 1.0, 0.6, 0.8]),
        Case("4 bits", *_layer(5, 16, 8, 6, 0.3), 4, SHARES),
        Case("many tokens", *_layer(6, 32, 12, 8, 1.0), 3, SHARES),
    ],
    properties=[
        law("one share a row", _shape, "Every row has a range of its own.", any_shape=True),
        law("no other is better", _none_is_better, "Measured on the output, row by row."),
        equals_reference(atol=1e-6, why="There is one best share a row in each of these cases."),
    ],
    wrong=[
        Wrong(
            "the error of the weights",
            _choose(_of_the_weights),
            "That is chapter 02's MSE clip. A clipped weight hurts only as much as its inputs are loud: use x.",
        ),
        Wrong(
            "one share for all rows",
            _choose(_one_for_all),
            "You added the errors of all rows. Each row has its own range, so each may choose: sum over tokens only.",
        ),
        Wrong(
            "one number in all",
            lambda x, w, b, shares: _choose(_output)(x, w, b, shares)[0],
            "You return a single share. Each row chooses its own: (out,) of them.",
        ),
        Wrong(
            "one range for the matrix",
            _choose(_one_range),
            "You took the largest weight of the whole matrix. Each row's range is its own: amax(dim=1, keepdim=True).",
        ),
        Wrong(
            "tokens choose",
            _by_tokens,
            "You summed over the rows of w and were left with one number a token. Sum over tokens: dim=0 of x @ (…).T.",
        ),
        Wrong(
            "places in the list",
            _places,
            "You return which of the shares is best, counted from 0. Asked is the share: torch.tensor(shares)[places].",
        ),
        Wrong(
            "what the cut did is left out",
            _choose(_after_the_cut),
            "You compare with weights that are clipped already, so clipping looks free. Compare with w itself.",
        ),
        Wrong(
            "nothing clips",
            _choose(_unclamped),
            "Codes beyond qmax were kept, so a smaller step looks free. Clamp them to ±qmax.",
        ),
        Wrong(
            "clipped, with the old step",
            _choose(_step_kept),
            "You cut the weights and kept the step. What a smaller range gains *is* the smaller step.",
        ),
        Wrong(
            "errors that cancel",
            _choose(_signed),
            "Errors of different tokens have different signs. Square them before you add.",
        ),
        Wrong(
            "one code more below",
            _choose(_one_code_more),
            "Symmetric codes go from −qmax to qmax. Yours have −qmax − 1 as well.",
        ),
        Wrong(
            "where the range ends",
            lambda x, w, b, shares: clip(x, w, b, shares) * w.abs().amax(dim=1),
            "You return c·max|w|. Asked is c itself, one of the shares.",
        ),
        Wrong(
            "the worst",
            _choose(_output, pick=torch.argmax),
            "You kept the share with the largest error.",
        ),
        Wrong(
            "never clip",
            lambda x, w, b, shares: torch.full((len(w),), max(shares)),
            "c = 1 keeps the whole range. Measure the others, too.",
        ),
    ],
    hints=[
        "For each c: a step, codes that are clamped, weights, and for each row the squared error of its output.",
        "w = [3, 1], 2 bits (codes −1, 0, 1): c = 1 gives step 3 and [3, 0]; c = ⅓ gives step 1 and [1, 1]. If the "
        "first channel's inputs are near 0, the second is better.",
        "    for c in shares:\n        step = c * ____ / qmax\n"
        "        kept = torch.round(w / step).clamp(____, ____) * step\n"
        "        errors.append((x @ (kept - w).T).square().sum(dim=____))\n"
        "    return torch.tensor(shares)[torch.stack(errors).argmin(dim=____)]",
    ],
    passed="Clipping was a loss in chapter 01 and a compromise in chapter 02. Here the inputs say what it costs.",
)
