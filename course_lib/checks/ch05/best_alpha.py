"""ch05.best_alpha: try some alphas, measure the error of the output, keep the best."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law


def best_alpha(x, w, alphas, b):
    qmax = 2 ** (b - 1) - 1
    x_max, w_max = x.abs().amax(dim=0), w.abs().amax(dim=0)
    errors = []
    for alpha in alphas:
        s = x_max**alpha / w_max ** (1 - alpha)
        xs, ws = x / s, w * s
        step_x = xs.abs().max() / qmax
        step_w = ws.abs().amax(dim=1, keepdim=True) / qmax
        y = (torch.round(xs / step_x) * step_x) @ (torch.round(ws / step_w) * step_w).T
        errors.append((y - x @ w.T).square().sum())
    return alphas[int(torch.stack(errors).argmin())]


def _rounded(t, b, rows, qmax=lambda b: 2 ** (b - 1) - 1):
    top = t.abs().amax(dim=1, keepdim=True) if rows else t.abs().max()
    step = top / qmax(b)
    return torch.round(t / step) * step


def _smoothed(x, w, alpha):
    s = x.abs().amax(dim=0) ** alpha / w.abs().amax(dim=0) ** (1 - alpha)
    return x / s, w * s


def _measured(error, pick=torch.argmin, answer=lambda alphas, k, errors: alphas[k]):
    """A search that measures something else: error(x, w, xs, ws, b); or one that picks or answers something else."""

    def variant(x, w, alphas, b):
        errors = torch.stack([error(x, w, *_smoothed(x, w, alpha), b) for alpha in alphas])
        return answer(alphas, int(pick(errors)), errors)

    return variant


def _output(x, w, xs, ws, b):
    return (_rounded(xs, b, False) @ _rounded(ws, b, True).T - x @ w.T).square().sum()


def _largest(x, w, xs, ws, b):
    return (_rounded(xs, b, False) @ _rounded(ws, b, True).T - x @ w.T).abs().max()


def _absolute(x, w, xs, ws, b):
    return (_rounded(xs, b, False) @ _rounded(ws, b, True).T - x @ w.T).abs().sum()


def _cancelling(x, w, xs, ws, b):
    return (_rounded(xs, b, False) @ _rounded(ws, b, True).T - x @ w.T).sum().abs()


def _one_scale_for_w(x, w, xs, ws, b):
    return (_rounded(xs, b, False) @ _rounded(ws, b, False).T - x @ w.T).square().sum()


def _of_the_tensors(x, w, xs, ws, b):
    return (_rounded(xs, b, False) - xs).square().sum() + (_rounded(ws, b, True) - ws).square().sum()


def _weights_only(x, w, xs, ws, b):
    return (xs @ _rounded(ws, b, True).T - x @ w.T).square().sum()


def _inputs_only(x, w, xs, ws, b):
    return (_rounded(xs, b, False) @ ws.T - x @ w.T).square().sum()


def _inputs_not_divided(x, w, xs, ws, b):
    return (_rounded(x, b, False) @ _rounded(ws, b, True).T - x @ w.T).square().sum()


def _a_scale_a_token(x, w, xs, ws, b):
    return (_rounded(xs, b, True) @ _rounded(ws, b, True).T - x @ w.T).square().sum()


def _qmax(q):
    return lambda x, w, xs, ws, b: (_rounded(xs, b, False, q) @ _rounded(ws, b, True, q).T - x @ w.T).square().sum()


def _codes(x, w, xs, ws, b):
    qmax = 2 ** (b - 1) - 1
    step_x, step_w = xs.abs().max() / qmax, ws.abs().amax(dim=1, keepdim=True) / qmax
    return (torch.round(xs / step_x) @ torch.round(ws / step_w).T - x @ w.T).square().sum()


def _exponents_swapped(x, w, alphas, b):
    errors = torch.stack([_output(x, w, *_smoothed(x, w, 1 - alpha), b) for alpha in alphas])
    return alphas[int(errors.argmin())]


def _one_of_them(got, x, w, alphas, b):
    return (
        any(abs(got - a) < 1e-9 for a in alphas) or f"{got:.4g} is not one of the alphas {[float(a) for a in alphas]}."
    )


def _none_is_better(got, x, w, alphas, b):
    errors = [_output(x, w, *_smoothed(x, w, a), b).item() for a in alphas]
    mine = min(range(len(alphas)), key=lambda k: abs(alphas[k] - got))
    best = min(range(len(alphas)), key=errors.__getitem__)
    told = f"α = {alphas[mine]:g} leaves an error of {errors[mine]:.4g}, α = {alphas[best]:g} only {errors[best]:.4g}."
    return errors[mine] <= errors[best] * 1.0001 or told


def _layer(seed, tokens, channels, outputs, loud=1.0, small=1.0):
    g = torch.Generator().manual_seed(seed)
    x, w = torch.randn(tokens, channels, generator=g), torch.randn(outputs, channels, generator=g)
    x[:, 0], w[:, 0] = x[:, 0] * loud, w[:, 0] * small
    return x, w


EXERCISE = Exercise(
    id="ch05.best_alpha",
    title="Which alpha?",
    spec="best_alpha(x, w, alphas, b): the α that leaves x @ w.T the least squared error; x has 1 scale, w one a row.",
    kind="measure",
    stub='''
def best_alpha(x, w, alphas, b):
    """The α that leaves x @ w.T the least squared error: b-bit codes of x / s, one scale, and of w * s, one a row."""
    ...
''',
    reference=best_alpha,
    piece="best_alpha",
    cases=[
        Case("a loud channel", *_layer(0, 2, 3, 2, loud=50.0), [0.0, 0.5, 1.0], 8),
        Case("a loud channel of small weights", *_layer(1, 3, 3, 2, loud=64.0, small=1 / 64), [0.0, 0.25, 0.5, 1.0], 8),
        Case("4 bits", *_layer(2, 3, 4, 2, loud=10.0), [0.0, 0.25, 0.5, 0.75, 1.0], 4),
        Case("large weights in one channel", *_layer(41, 3, 4, 2, small=30.0), [0.0, 0.25, 0.5, 0.75, 1.0], 4),
        Case("nothing loud", *_layer(4, 4, 4, 3), [0.2, 0.4, 0.6, 0.8], 4),
        Case("alphas in another order", *_layer(5, 4, 5, 3, loud=20.0), [0.7, 1.0, 0.3, 0.0, 0.5], 4),
        Case("one large error or many small ones", *_layer(138, 3, 3, 2, loud=8.0), [0.0, 0.25, 0.5, 0.75, 1.0], 4),
        Case("many tokens", *_layer(6, 16, 8, 6, loud=30.0), [0.0, 0.25, 0.5, 0.75, 1.0], 4),
    ],
    properties=[
        law("one of the alphas", _one_of_them, "You are asked to choose, not to invent."),
        law("no other is better", _none_is_better, "Measured as the spec says, on the output."),
        equals_reference(why="There is one best α in each of these cases."),
    ],
    wrong=[
        Wrong(
            "errors of x and w added up",
            _measured(_of_the_tensors),
            "You measure how far x and w moved. What counts is x @ w.T: an error meets what it is multiplied with.",
        ),
        Wrong(
            "exponents swapped",
            _exponents_swapped,
            "Your s is max|x|^(1−α) / max|w|^α, so you found 1 − α. α belongs to the inputs, 1 − α to the weights.",
        ),
        Wrong(
            "only the weights rounded",
            _measured(_weights_only),
            "Your inputs kept all their digits, so a loud channel does no harm. Round x / s, too.",
        ),
        Wrong(
            "only the inputs rounded",
            _measured(_inputs_only),
            "Your weights kept all their digits, so α = 1 looks free. Round w * s, too.",
        ),
        Wrong(
            "inputs not divided by s",
            _measured(_inputs_not_divided),
            "w was multiplied by s, and x was not divided by it: that is another function. Divide x first.",
        ),
        Wrong(
            "a scale for each token",
            _measured(_a_scale_a_token),
            "The spec gives x one scale for all its tokens: x.abs().max(), without dim.",
        ),
        Wrong(
            "one scale for all of w",
            _measured(_one_scale_for_w),
            "The spec gives each row of w a scale of its own: amax(dim=1, keepdim=True).",
        ),
        Wrong(
            "always 8 bits",
            _measured(_qmax(lambda b: 127)),
            "127 is the last code of 8 bits. Here there are b of them: 2 ** (b - 1) - 1.",
        ),
        Wrong(
            "as many codes as if there were no sign",
            _measured(_qmax(lambda b: 2**b - 1)),
            "2^b − 1 is the last code without a sign. Half of the codes are negative: the last is 2 ** (b - 1) - 1.",
        ),
        Wrong(
            "codes, not numbers",
            _measured(_codes),
            "You multiply codes and compare with x @ w.T. Multiply them by their steps first.",
        ),
        Wrong(
            "the largest error",
            _measured(_largest),
            "You compare the one worst output. Asked is the sum of all squared errors.",
        ),
        Wrong(
            "absolute errors",
            _measured(_absolute),
            "You add |error|. Squares count a large error more, and here they choose another α.",
        ),
        Wrong(
            "errors that cancel",
            _measured(_cancelling),
            "Errors of both signs cancel in a sum. Square each before you add.",
        ),
        Wrong(
            "the worst",
            _measured(_output, pick=torch.argmax),
            "You kept the largest error.",
        ),
        Wrong(
            "its place in the list",
            _measured(_output, answer=lambda alphas, k, errors: float(k)),
            "You return the place of the best α. Asked is the α itself: alphas[k].",
        ),
        Wrong(
            "the error itself",
            _measured(_output, answer=lambda alphas, k, errors: errors[k].item()),
            "You return the least error. Asked is the α that gave it.",
        ),
        Wrong(
            "always one half",
            lambda x, w, alphas, b: min(alphas, key=lambda a: abs(a - 0.5)),
            "One half is a good first guess. Measure: which of the alphas leaves the least error?",
        ),
        Wrong(
            "the error of the weights",
            _measured(lambda x, w, xs, ws, b: (_rounded(ws, b, rows=True) * w / ws - w).square().sum()),
            "You compare weights, and the inputs are rounded, too. What counts is the error of x @ w.T.",
        ),
    ],
    hints=[
        "For each α: smooth both, round both, multiply, compare with x @ w.T. Keep the α of the smallest error.",
        "x = [[10, 1]], w = [[1, 1]], b = 3: exactly 11. α = 0: s = [1, 1], codes of x 3 0, y = 10, error 1. α = ½: "
        "s = [3.16, 1], both sides [3.16, 1] with step 1.05, codes 3 1, y = 11.11, error 0.012. α = 1: 10 again.",
        "    for alpha in alphas:\n        s = ____\n        xs, ws = x / s, w * s\n"
        "        step_x = xs.abs().max() / qmax\n"
        "        step_w = ws.abs().amax(dim=____, keepdim=True) / qmax\n        y = (____) @ (____).T\n"
        "        error = (y - ____).square().sum()",
    ],
    passed="The same search, with other candidates and another error, is AWQ (chapter 07).",
)
