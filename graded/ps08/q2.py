"""ps08.q2: a cache whose windows fill up"""

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question
from graded.ps08.draw import draw


def window_growth(layers, tokens):
    """Bytes of the cache at each number of tokens, bytes that the next token adds, and from where windows save half."""
    size = torch.tensor([each for each, _ in layers])
    most = torch.tensor([2**40 if window is None else window for _, window in layers])
    seen = tokens[:, None]

    def halved(n):
        return 2 * (size * most.clamp(max=n)).sum().item() <= n * size.sum().item()

    low, high = 0, 2**40  # not yet halved at low; halved at high, if ever
    while halved(2**40) and high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if halved(middle) and middle else (middle, high)
    return {
        "bytes": (size * torch.minimum(seen, most)).sum(dim=1),
        "next": (size * (seen < most)).sum(dim=1),
        "half": float(high) if halved(2**40) else float("inf"),
    }


def _kept(n, window):
    return n if window is None else min(n, window)


def _half(layers, met=lambda two, whole: two <= whole, kept=_kept, never=float("inf")):
    """The first n by doubling and halving; never, where there is none."""

    def holds(n):
        return met(2 * sum(each * kept(n, w) for each, w in layers), n * sum(each for each, _ in layers))

    if not holds(2**40):
        return never
    low, high = 0, 2**40
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return float(high)


def _growth(layers, tokens, kept=_kept, grows=lambda n, w: w is None or n < w, half=_half):
    """The reference with one part changed."""
    ns = tokens.tolist()
    return {
        "bytes": torch.tensor([sum(each * kept(n, w) for each, w in layers) for n in ns]),
        "next": torch.tensor([sum(each * grows(n, w) for each, w in layers) for n in ns]),
        "half": half(layers),
    }


def _by_the_slope(layers):
    """Solves for n as if every window were full, and says nothing about the others."""
    full = sum(each for each, w in layers if w is None)
    flat = sum(each * w for each, w in layers if w is not None)
    rest = sum(each for each, _ in layers) - 2 * full
    return float(-(-2 * flat // rest)) if rest > 0 else float("inf")


def _largest_window(layers):
    """The first n at least as large as every window that halves the cache."""
    found = _half(layers)
    return found if found == float("inf") else float(max([found, *(w for _, w in layers if w is not None)]))


NAMES = ("bytes", "the next token", "from where windows save half", "never, and at once")

WRONG = [
    Mistake(
        "windows forgotten",
        lambda *a: _growth(*a, kept=lambda n, w: n, grows=lambda n, w: True, half=lambda layers: float("inf")),
        "A layer with a window keeps the last `window` tokens only.",
        loses=NAMES,
    ),
    Mistake(
        "a window that holds one more",
        lambda *a: _growth(*a, kept=lambda n, w: n if w is None else min(n, w + 1),
                           grows=lambda n, w: w is None or n <= w),
        "A window of 128 holds 128 tokens: with the 129th the first one leaves.",
        loses=NAMES[:2],
    ),
    Mistake(
        "a full window still grows",
        lambda *a: _growth(*a, grows=lambda n, w: w is None or n <= w),
        "At n = window the layer is full: the next token takes the place of the first.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "windowed layers never grow",
        lambda *a: _growth(*a, grows=lambda n, w: w is None),
        "Until its window is full a layer grows like the others.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "the largest window for all",
        lambda layers, tokens: _growth([(e, None if w is None else max(v for _, v in layers if v)) for e, w in layers],
                                       tokens),
        "Each layer has a window of its own.",
        loses=NAMES[:3],
    ),
    Mistake(
        "less than half",
        lambda *a: _growth(*a, half=lambda layers: _half(layers, met=lambda two, whole: two < whole)),
        "Exactly half is half.",
        loses=NAMES[2:],
    ),
    Mistake(
        "a quarter",
        lambda *a: _growth(*a, half=lambda layers: _half(layers, met=lambda two, whole: 2 * two <= whole)),
        "Half of what the same layers would take without windows.",
        loses=NAMES[2:],
    ),
    Mistake(
        "as if all windows were full",
        lambda *a: _growth(*a, half=_by_the_slope),
        "Where one window is far larger than the others, half may be saved before it is full.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "not before every window is full",
        lambda *a: _growth(*a, half=_largest_window),
        "The small windows may save half while the largest still grows.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "searched up to 10,000",
        lambda *a: _growth(*a, half=lambda layers: half if (half := _half(layers)) <= 10_000 else float("inf")),
        "Once half holds it holds for all longer texts: double n until it does, or find out first that it never will.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "the last token without half",
        lambda *a: _growth(*a, half=lambda layers: _half(layers) - 1),
        "Return the first n at which at most half is left, not the last one before.",
        loses=NAMES[2:],
    ),
    Mistake(
        "0 for never",
        lambda *a: _growth(*a, half=lambda layers: _half(layers, never=0.0)),
        "Where windows never save half, there is no such n: return infinity.",
        loses=NAMES[3:],
    ),
    Mistake(
        "layers counted, not bytes",
        lambda *a: _growth(*a, grows=lambda n, w: 1 if w is None or n < w else 0)
        | {"next": _growth([(1, w) for _, w in a[0]], a[1])["next"]},
        "Layers differ: add up the bytes of those that still grow, not their number.",
        loses=NAMES[1:2],
    ),
]  # fmt: skip


def exercise(seed):
    a, b, c, d, e = draw(seed, (2, 9), (40, 120), (300, 700), (3, 6), (150, 260))
    ns = torch.tensor([1, b - 1, b, b + 1, c, 5 * c, 100_000])
    mixed = [[256, None], [256, b], [256, b], [256, b]]
    uneven = [[512 * a, None], [1024 * a, b], [256, c], [1024 * a, b], [768 * a, 40 * c]]
    cases = [
        Case("one full layer in four", mixed, ns),
        Case("layers and windows of all sizes", uneven, torch.tensor([c, b, 2**30, c - 1, 40 * c, 0, c + 1])),
        Case("half saved, met exactly", [[100, None], [100, 50], [200, 50]], torch.tensor([10, 50, 60, 300])),
        Case("a large window among small ones", [[128, d], [128, d], [128, d], [128 * d, e * 100], [300 * d, d]],
             torch.tensor([d, d + 1, e * 100, e * 100 + 1])),
        Case("a long window", [[64, None], [64 * a, 100_000 + c]], torch.tensor([1000, 100_000 + c, 10**6])),
    ]  # fmt: skip
    ends = [
        Case("no window at all", [[64 * a, None], [64, None]], torch.tensor([1, 1000])),
        Case("half of it in full layers: never", [[300, None], [100, b], [200, c]], torch.tensor([1, b, c, 10**6])),
        Case("windows only", [[128, b], [128 * a, b]], torch.tensor([b, b + 1])),
    ]
    halved = ends[2:]  # whoever searches without an end for what never comes has bytes all the same
    return question(
        "ps08.q2",
        "A cache whose windows fill up",
        "window_growth(layers, tokens): the cache's bytes, the next token's bytes, and from where windows save half.",
        window_growth,
        properties=[
            agrees(NAMES[0], cases + halved, "Each layer keeps at most its window.", part="bytes"),
            agrees(NAMES[1], cases + halved, "The bytes of the layers that still grow.", part="next"),
            agrees(NAMES[2], cases, "The first n with at most half of the bytes.", part="half"),
            agrees(NAMES[3], ends, "Infinity where full layers alone take half.", part="half"),
        ],
        wrong=WRONG,
    )
