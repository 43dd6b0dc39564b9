"""ps04.q5: which rounding goes into the file?"""

import math

import torch

from course_lib import Scheme, quantize
from course_lib.calibrate import gptq, hessian
from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def choose(w, x, x_new, options, budget_bytes):
    """Of the options that fit, calibrated on x, the one with the least output error on x_new; or None."""
    best, want = None, x_new @ w.T
    for number, option in enumerate(options):
        scheme = Scheme.int(option["bits"], group=option["group"], scale_dtype=torch.float16)
        if option["method"] == "nearest":
            stored = quantize(w, scheme)
        else:
            stored = gptq(w, hessian(x), scheme, act_order=option["method"] == "gptq act-order")
        lost = want - x_new @ stored.dequantize().T
        error = (lost.square().sum() / want.square().sum()).item()
        if stored.nbytes <= budget_bytes and (best is None or error < best["error"]):
            best = {"option": number, "bytes": stored.nbytes, "error": error}
    return best


def _store(w, x, option, dtype=torch.float16, symmetric=True):
    scheme = Scheme.int(option["bits"], symmetric, option["group"], scale_dtype=dtype)
    if option["method"] == "nearest":
        return quantize(w, scheme)
    return gptq(w, hessian(x), scheme, act_order=option["method"] == "gptq act-order")


def _error(w, stored, x):
    want = x @ w.T
    return ((want - x @ stored.dequantize().T).square().sum() / want.square().sum()).item()


def _choose(w, x, x_new, options, budget, on="new", by="error", dtype=torch.float16, size=None, tell=lambda e: e,
            power=None, **store):  # fmt: skip
    """The reference with another text, another judge or another count of bytes."""
    texts, found = {"new": x_new, "seen": x, "both": torch.cat([x, x_new])}, []
    for n, option in enumerate(options):
        stored = _store(w, x_new if by == "peek" else x, option, dtype, **store)
        nbytes = stored.nbytes if size is None else size(stored)
        error = _error(w, stored, texts[on]) if power is None else power(w, stored, x_new)
        distance = (w - stored.dequantize()).square().sum().item()
        rank = {"error": error, "peek": error, "distance": distance, "bytes": nbytes, "first": n}[by]
        if nbytes <= budget:
            found.append((rank, n, nbytes, tell(error)))
    return dict(zip(("option", "bytes", "error"), min(found)[1:], strict=True)) if found else None


def _codes_and_scales(stored):
    """Without the list of groups."""
    return stored.codes.numel() * stored.scheme.bits // 8 + stored.scale.nbytes


def _options(*triples):
    return [{"bits": bits, "group": group, "method": method} for bits, group, method in triples]


ORDER = "gptq act-order"
SAME = _options((3, 16, "nearest"), (3, 16, "gptq"), (3, 16, ORDER), (3, 32, "gptq"))
MIXED = _options((2, 8, "gptq"), (3, 32, "nearest"), (3, 32, "gptq"), (4, 32, "nearest"), (4, 32, "gptq"))


def _layer(seed, rows, cols, tokens):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.eye(cols) + 0.35 * torch.randn(cols, cols, generator=generator)
    loud = torch.linspace(0.2, 3, cols)[torch.randperm(cols, generator=generator)]
    x, x_new = ((torch.randn(n, cols, generator=generator) @ mix) * loud for n in (tokens, 200))
    return torch.randn(rows, cols, generator=generator), x, x_new


def _clear(w, x, x_new, options, budget):
    """Whether the best option wins by 5 %, and the choices of those who look elsewhere are other ones."""
    fits = sorted(_error(w, s, x_new) for s in (_store(w, x, o) for o in options) if s.nbytes <= budget)
    return len(fits) < 2 or fits[1] > 1.05 * fits[0]


def _cases(seed):
    w, x, x_new = _layer(seed, 16, 32, 150)
    few = _layer(seed + 1, 16, 32, 36)  # hardly more tokens than columns: the seen text flatters
    sizes = [_store(w, x, o).nbytes for o in SAME]
    large = [_store(few[0], few[1], o).nbytes for o in MIXED]
    best = [
        Case("the same bits, four ways", w, x, x_new, SAME, max(sizes)),
        Case("without room for g_idx", w, x, x_new, SAME, sizes[1]),
        Case("more or fewer bits", *few, MIXED, 10**6),
        Case("a byte too few for four bits", *few, MIXED, large[4] - 1),
    ]
    stored = [
        Case("nearest", w, x, x_new, SAME[:1], 10**6),
        Case("act-order", w, x, x_new, SAME[2:3], 10**6),
        Case("gptq on few tokens", *few, MIXED[2:3], 10**6),
    ]
    ends = [Case("nothing fits", w, x, x_new, SAME, 10), Case("only one fits", w, x, x_new, SAME, min(sizes))]
    return best, stored, ends


NAMES = ("the best option that fits", "bytes and error of what is stored", "None, and a budget met exactly")


def _not_relative(w, stored, x_new):
    return (x_new @ (w - stored.dequantize()).T).square().sum().item()


def _over_the_quantized(w, stored, x_new):
    return _not_relative(w, stored, x_new) / (x_new @ stored.dequantize().T).square().sum().item()


def _of_weights(w, stored, x_new):
    return ((w - stored.dequantize()).square().sum() / w.square().sum()).item()


def _methods(change):
    return lambda w, x, x_new, options, budget: choose(
        w, x, x_new, [{**o, "method": change.get(o["method"], o["method"])} for o in options], budget
    )


def _best_or_nothing(*arguments):
    best = choose(*arguments[:4], 10**9)
    return best if best["bytes"] <= arguments[4] else None


WRONG = [
    Mistake(
        "calibrated on the test",
        lambda *a: _choose(*a, by="peek"),
        "H comes from x. Whoever calibrates on x_new knows the answers before the test.",
        loses=NAMES,
    ),
    Mistake(
        "judged on the text that it was calibrated on",
        lambda *a: _choose(*a, on="seen"),
        "The error on x flatters: x was used to choose the codes. Judge on x_new.",
        loses=NAMES,
    ),
    Mistake(
        "judged by the distance to the weights",
        lambda *a: _choose(*a, by="distance"),
        "The nearest weights are not the best ones: compare outputs.",
        loses=NAMES[:1],
    ),
    Mistake(
        "g_idx not counted",
        lambda *a: _choose(*a, size=_codes_and_scales),
        "act-order stores g_idx, 4 bytes a column: .nbytes counts it.",
        loses=NAMES[:2],
    ),
    Mistake(
        "scales in float32",
        lambda *a: _choose(*a, dtype=torch.float32),
        "The scales are stored in float16: pass scale_dtype=torch.float16.",
        loses=NAMES,
    ),
    Mistake(
        "the first that fits",
        lambda *a: _choose(*a, by="first"),
        "A later option may fit and be better: look at all of them.",
        loses=NAMES[:1],
    ),
    Mistake(
        "the root of the error",
        lambda *a: _choose(*a, tell=math.sqrt),
        "The error is a ratio of sums of squares, without a root.",
        loses=NAMES,
    ),
    Mistake(
        "the error of the weights",
        lambda *a: _choose(*a, power=_of_weights),
        "That compares weights. The error asked for compares outputs: x_new times both.",
        loses=NAMES,
    ),
    Mistake(
        "not relative",
        lambda *a: _choose(*a, power=_not_relative),
        "Divide by ‖x_new wᵀ‖²: the error is a share.",
        loses=NAMES,
    ),
    Mistake(
        "over the quantized outputs",
        lambda *a: _choose(*a, power=_over_the_quantized),
        "Below the line stand the outputs of w itself, not those of ŵ.",
        loses=NAMES,
    ),
    Mistake(
        "strictly below the budget",
        lambda *a: choose(*a[:4], a[4] - 1),
        "At most the budget: bytes that meet it exactly fit.",
        loses=(NAMES[0], NAMES[2]),
    ),
    Mistake(
        "the best, if it fits",
        _best_or_nothing,
        "Ask first what fits, then what is best among that: another one may fit where the best does not.",
        loses=(NAMES[0], NAMES[2]),
    ),
    Mistake(
        "the smallest",
        lambda *a: _choose(*a, by="bytes"),
        "Fitting is enough: among those that fit the least error wins.",
        loses=NAMES[:1],
    ),
    Mistake(
        "act-order as plain GPTQ",
        _methods({"gptq act-order": "gptq"}),
        "'gptq act-order' asks for act_order=True, which also stores g_idx.",
        loses=NAMES[:2],
    ),
    Mistake(
        "act-order as nearest",
        _methods({"gptq act-order": "nearest"}),
        "There are three methods: what is not 'gptq' need not be 'nearest'.",
        loses=NAMES[:2],
    ),
    Mistake(
        "asymmetric",
        lambda *a: _choose(*a, symmetric=False),
        "All schemes are symmetric here: Scheme.int(bits, group=…) as it is, without zero points.",
        loses=NAMES,
    ),
]


def exercise(seed):
    drawn = (_cases(seed + 10 * i) for i in range(100))
    best, stored, ends = next(c for c in drawn if all(_clear(*case.args) for case in c[0] + c[2]))
    near = dict(rtol=2e-3)
    return question(
        "ps04.q5",
        "Which rounding goes into the file?",
        "choose(w, x, x_new, options, budget_bytes): the option that fits with the least output error on x_new, or "
        "None.",
        choose,
        properties=[
            agrees(NAMES[0], best, "Bytes decide who may, outputs on new text decide who wins.", points=2, **near),
            agrees(NAMES[1], stored, "H from x, error on x_new, bytes with g_idx.", **near),
            agrees(NAMES[2], ends, "At most the budget.", **near),
        ],
        wrong=WRONG,
    )
