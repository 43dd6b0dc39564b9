"""ch07.search: a grid of exponents, and the output decides."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law


def search(x, w, b, n):
    loud = x.abs().mean(dim=0)
    errors = []
    for k in range(n):
        s = loud ** (k / n)
        scaled = w * s
        step = scaled.abs().amax(dim=1, keepdim=True) / (2 ** (b - 1) - 1)
        kept = torch.round(scaled / step) * step / s
        errors.append((x @ (kept - w).T).square().sum())
    return int(torch.stack(errors).argmin()) / n


def _protected(w, s, b):
    scaled = w * s
    step = scaled.abs().amax(dim=1, keepdim=True) / (2 ** (b - 1) - 1)
    return torch.round(scaled / step) * step / s


def _loud(x):
    return x.abs().mean(dim=0)


def _with(error, loud=_loud, pick=torch.argmin, grid=lambda k, n: k / n, rounds=lambda n: range(n)):
    def variant(x, w, b, n):
        found = [(grid(k, n), error(x, w, loud(x) ** grid(k, n), b)) for k in rounds(n)]
        return found[int(pick(torch.stack([e for _, e in found])))][0]

    return variant


def _output(x, w, s, b):
    return (x @ (_protected(w, s, b) - w).T).square().sum()


def _of_the_weights(x, w, s, b):
    return (_protected(w, s, b) - w).square().sum()


def _scale_left_in(x, w, s, b):
    return (x @ (_protected(w, s, b) * s - w).T).square().sum()


def _inputs_undivided(x, w, s, b):
    return (x @ (_protected(w, s, b) * s - w * s).T).square().sum()


def _one_step(x, w, s, b):
    step = (w * s).abs().max() / (2 ** (b - 1) - 1)
    return (x @ (torch.round(w * s / step) * step / s - w).T).square().sum()


def _cancels(x, w, s, b):
    return (x @ (_protected(w, s, b) - w).T).sum().abs()


def _the_error(x, w, b, n):
    return min(_output(x, w, _loud(x) ** (k / n), b).item() for k in range(n))


def _loud_weights(x, w, b, n):
    errors = [_output(x, w, _loud(w) ** (k / n), b).item() for k in range(n)]
    return min(range(n), key=errors.__getitem__) / n


def _place(x, w, b, n):
    return float(round(search(x, w, b, n) * n))


def _on_the_grid(got, x, w, b, n):
    return any(abs(got - k / n) < 1e-6 for k in range(n)) or f"{got:.4g} is not one of 0, 1/{n} … {n - 1}/{n}."


def _none_is_better(got, x, w, b, n):
    errors = [_output(x, w, _loud(x) ** (k / n), b).item() for k in range(n)]
    mine, best = min(round(got * n), n - 1), min(range(n), key=errors.__getitem__)
    told = f"α = {mine}/{n} leaves a squared error of {errors[mine]:.4g}, α = {best}/{n} only {errors[best]:.4g}."
    return errors[mine] <= errors[best] * 1.0001 or told


def _layer(seed, tokens, channels, outputs, loud):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(tokens, channels, generator=g) * torch.logspace(0, loud, channels)
    return x, torch.randn(outputs, channels, generator=g)


EXERCISE = Exercise(
    id="ch07.search",
    title="Let the output decide",
    spec="search(x, w, b, n): the α of 0, 1/n … (n−1)/n for which s = (mean |x|)^α leaves x @ w.T least squared error.",
    kind="measure",
    stub='''
def search(x, w, b, n):
    """The α in 0, 1/n … (n-1)/n with which w (out, in), protected by s = (mean |x|)^α, errs least in the output."""
    ...
''',
    reference=search,
    piece="search",
    cases=[
        Case("two channels, two tokens", *_layer(21, 2, 2, 2, 1.5), 3, 4),
        Case("two channels, a little apart", *_layer(32, 2, 2, 2, 1.0), 3, 4),
        Case("three channels", *_layer(0, 4, 3, 2, 1.0), 3, 4),
        Case("plain rounding is best", *_layer(101, 3, 2, 2, 1.0), 3, 4),
        Case("the last one is best", *_layer(110, 3, 2, 2, 1.0), 3, 4),
        Case("one large error or many small ones", *_layer(331, 3, 2, 2, 1.0), 3, 4),
        Case("nothing loud", *_layer(2, 6, 4, 4, 0.0), 3, 4),
        Case("far apart", *_layer(3, 8, 6, 4, 2.0), 3, 10),
        Case("4 bits", *_layer(4, 16, 8, 6, 1.5), 4, 10),
        Case("a finer grid", *_layer(5, 16, 8, 8, 1.0), 3, 20),
        Case("many outputs", *_layer(6, 24, 8, 12, 1.2), 3, 10),
    ],
    properties=[
        law("on the grid", _on_the_grid, "Asked is one of the α that were tried."),
        law("no other is better", _none_is_better, "Measured on the output, as the spec says."),
        equals_reference(atol=1e-6, why="There is one best α in each of these cases."),
    ],
    wrong=[
        Wrong(
            "the error of the weights",
            _with(_of_the_weights),
            "You compare weights. They get *worse* when s grows. Compare outputs: x @ (kept − w).T.",
        ),
        Wrong(
            "s not taken back, or a sum that goes on",
            _with(_scale_left_in),
            "α = 0 wins every time. Is Q(w · s) divided by s before you compare it with w? Does the error of each α "
            "begin at 0? Is k / n a fraction (k // n is 0)? Is abs taken before the mean (a power of −1 is nan)?",
        ),
        Wrong(
            "scaled weights met undivided inputs",
            _with(_inputs_undivided),
            "Both sides are scaled, but x is not divided: a loud channel then counts s times too much.",
        ),
        Wrong(
            "max in place of mean",
            _with(_output, loud=lambda x: x.abs().amax(0)),
            "s comes from *mean* |x| here. The maximum is SmoothQuant's.",
        ),
        Wrong(
            "the worst",
            _with(_output, pick=torch.argmax),
            "You kept the largest error.",
        ),
        Wrong(
            "its place in the grid",
            _place,
            "You return k. Asked is α = k / n.",
        ),
        Wrong(
            "the error in place of α",
            _the_error,
            "You return the least error. Asked is the α that leaves it.",
        ),
        Wrong(
            "plain rounding left out",
            _with(_output, rounds=lambda n: range(1, n)),
            "Your grid starts at 1/n. Without α = 0 the search may end up worse than plain rounding.",
        ),
        Wrong(
            "from 1 to n",
            _with(_output, rounds=lambda n: range(1, n + 1)),
            "Your grid runs from 1/n to 1. Asked is 0 to (n − 1)/n: α = 0, plain rounding, has to be in it.",
        ),
        Wrong(
            "one too many",
            _with(_output, rounds=lambda n: range(n + 1)),
            "α = 1 is not in the grid: k ends at n − 1.",
        ),
        Wrong(
            "n points from 0 to 1",
            _with(_output, grid=lambda k, n: k / (n - 1)),
            "Your α lie 1/(n − 1) apart and reach 1. Asked is k / n.",
        ),
        Wrong(
            "always 4 bits",
            _with(lambda x, w, s, b: _output(x, w, s, 4)),
            "7 is the last code of 4 bits. Here there are b of them: 2 ** (b - 1) - 1.",
        ),
        Wrong(
            "absolute errors",
            _with(lambda x, w, s, b: (x @ (_protected(w, s, b) - w).T).abs().sum()),
            "You add |error|. Squares count a large error more, and here they choose another α.",
        ),
        Wrong(
            "one step for the whole matrix",
            _with(_one_step),
            "Each row of w * s has a step of its own: amax(dim=1, keepdim=True).",
        ),
        Wrong(
            "errors that cancel",
            _with(_cancels),
            "Errors of different tokens and outputs have different signs. Square them before you add.",
        ),
        Wrong(
            "the weights' loudness",
            _loud_weights,
            "You took the mean |w| of the columns. Loud is what flows *in*: mean |x| over the tokens.",
        ),
        Wrong(
            "always one half",
            lambda x, w, b, n: (n // 2) / n,
            "One half is what many end up near. Measure it.",
        ),
        Wrong(
            "the end of the grid left out",
            _with(_output, rounds=lambda n: range(max(1, n // 2))),
            "Your grid stops half-way. k runs from 0 to n − 1.",
        ),
    ],
    hints=[
        "For each α: make s, protect w with it, multiply the change of the weights by x, add up the squares.",
        "mean |x| = (4, 1), n = 2: α = 0 gives s = (1, 1), plain rounding; α = ½ gives s = (2, 1).",
        "    for k in range(n):\n        s = ____ ** (k / n)\n        kept = ____  # as in protected\n"
        "        error = (x @ (____).T).square().sum()",
    ],
    passed="α = 0 is in the grid, so the search can never do worse than plain rounding on these inputs.",
)
