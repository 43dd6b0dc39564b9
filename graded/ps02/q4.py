"""ps02.q4: a model in two memories"""

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question
from graded.ps02.draw import draw

CLOSE = dict(rtol=1e-6)  # one double-precision sum, in any order


def two_memories(layer_bytes, budget_bytes, fast_gb_s, slow_gb_s, overhead_ms):
    """How many layers lie in fast memory, filled from the last one backwards, and the tokens per second that follow."""
    split, room = len(layer_bytes), budget_bytes
    while split > 0 and layer_bytes[split - 1] <= room:
        split -= 1
        room -= layer_bytes[split]
    slow_s = sum(layer_bytes[:split]) / (slow_gb_s * 1e9)
    fast_s = sum(layer_bytes[split:]) / (fast_gb_s * 1e9)
    return {
        "on_fast": len(layer_bytes) - split,
        "tokens_per_s": 1 / (slow_s + fast_s + overhead_ms / 1000),
    }


def _first_layers(layers, budget, *rest):
    return two_memories(layers[::-1], budget, *rest)


def _skips(layers, budget, fast_gb_s, slow_gb_s, overhead_ms):
    chosen, room = [], budget
    for size in reversed(layers):
        if size <= room:
            chosen.append(size)
            room -= size
    slow_s, fast_s = (sum(layers) - sum(chosen)) / slow_gb_s / 1e9, sum(chosen) / fast_gb_s / 1e9
    return {"on_fast": len(chosen), "tokens_per_s": 1 / (slow_s + fast_s + overhead_ms / 1000)}


def _timed(layers, budget, fast_gb_s, slow_gb_s, overhead_ms, together, giga=1e9, milli=1e-3):
    count = two_memories(layers, budget, 1.0, 1.0, 0.0)["on_fast"]
    fast = sum(layers[len(layers) - count :])
    slow = sum(layers) - fast
    seconds = together(slow, fast, slow_gb_s * giga, fast_gb_s * giga)
    return {"on_fast": count, "tokens_per_s": 1 / (seconds + overhead_ms * milli)}


def _sum_of_times(slow, fast, slow_rate, fast_rate):
    return slow / slow_rate + fast / fast_rate


def _mean_bandwidth(slow, fast, slow_rate, fast_rate):
    return (slow + fast) ** 2 / (slow * slow_rate + fast * fast_rate)


def _slower_of_both(slow, fast, slow_rate, fast_rate):
    return max(slow / slow_rate, fast / fast_rate)


NAMES = ("the layers in fast memory", "the time of a token", "everything in one memory")


def _not_quite_full(layers, budget, *rest):
    return two_memories(layers, budget - 1, *rest)


def _sum_of_rates(slow, fast, slow_rate, fast_rate):
    return 1 / (sum(rate / size for rate, size in ((slow_rate, slow), (fast_rate, fast)) if size))


def _beyond_the_first(layers, budget, fast_gb_s, slow_gb_s, overhead_ms):
    """layers[-1] is the last one again."""
    split, room = len(layers), budget
    while layers[split - 1] <= room:
        split, room = split - 1, room - layers[split - 1]
    slow, fast = sum(layers[:split]) / slow_gb_s / 1e9, sum(layers[split:]) / fast_gb_s / 1e9
    return {"on_fast": len(layers) - split, "tokens_per_s": 1 / (slow + fast + overhead_ms / 1000)}


WRONG = [
    Mistake(
        "filled from the first layer",
        _first_layers,
        "The runtime fills fast memory from the last layer backwards.",
        loses=NAMES,
    ),
    Mistake(
        "a large layer skipped",
        _skips,
        "Stop at the first layer that does not fit; smaller ones before it stay where they are.",
        loses=NAMES,
    ),
    Mistake(
        "the mean bandwidth",
        lambda *a: _timed(*a, _mean_bandwidth),
        "Bandwidths do not average over bytes; times add up, so the slow memory dominates.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "both memories at the same time",
        lambda *a: _timed(*a, _slower_of_both),
        "One layer needs the result of the one before it, so the two memories take turns.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "the overhead forgotten",
        lambda *a: two_memories(*a[:4], 0.0),
        "Each token also costs overhead_ms.",
        loses=NAMES[1:],
    ),
    Mistake(
        "milliseconds taken for seconds",
        lambda *a: _timed(*a, _sum_of_times, milli=1.0),
        "overhead_ms is in milliseconds: divide it by 1000.",
        loses=NAMES[1:],
    ),
    Mistake(
        "GiB per second",
        lambda *a: _timed(*a, _sum_of_times, giga=2**30),
        "Bandwidth is sold in GB/s, 10^9 bytes a second.",
        loses=NAMES[1:],
    ),
    Mistake(
        "a layer that just fits left out",
        _not_quite_full,
        "A layer that fills the budget to the last byte fits: compare with ≤.",
        loses=NAMES[2:],
    ),
    Mistake(
        "the overhead once a layer",
        lambda layers, budget, fast, slow, ms: two_memories(layers, budget, fast, slow, len(layers) * ms),
        "overhead_ms is paid once a token, not once a layer.",
        loses=NAMES[1:],
    ),
    Mistake(
        "the rates added",
        lambda *a: _timed(*a, _sum_of_rates),
        "Each part's tokens per second do not add up: a token needs both parts. Add the times.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "the two speeds swapped",
        lambda layers, budget, fast, slow, ms: two_memories(layers, budget, slow, fast, ms),
        "The layers on the card are read at fast_gb_s, the others at slow_gb_s.",
        loses=NAMES[1:],
    ),
    Mistake(
        "seconds per token",
        lambda *a: {**two_memories(*a), "tokens_per_s": 1 / two_memories(*a)["tokens_per_s"]},
        "That is the time of one token; tokens per second is 1 over it.",
        loses=NAMES[1:],
    ),
    Mistake(
        "on beyond the first layer",
        _beyond_the_first,
        "After the first layer comes none: `layer_bytes[-1]` is the last one again, and gets counted twice.",
        loses=NAMES[2:],
    ),
]


def exercise(seed):
    a, b, c = draw(seed, (90, 140), (5, 9), (40, 80))
    even = [a * 10**6] * 32
    growing = [(a + 3 * i) * 10**6 for i in range(20)]
    with_head = [a * 10**6] * 12 + [b * 10**8]  # the last one is large
    bump = [a * 10**6] * 4 + [6 * a * 10**6] + [a * 10**6] * 3
    mixed = [
        Case("equal layers", even, 22 * a * 10**6 + 5, 1000.0, 60.0, 1.5),
        Case("growing layers", growing, 8 * (a + 40) * 10**6, 400.0 + c, 50.0, 0.8),
        Case("a large last layer", with_head, (b + 2) * 10**8, 272.0, 89.6, 2.0),
        Case("a large layer in the middle", bump, 6 * a * 10**6, 300.0, float(c), 1.0),
    ]
    one = [
        Case("all in fast memory", growing, sum(growing), 1008.0, 60.0, 0.25),
        Case("room to spare", growing, sum(growing) + 5 * 10**8, 1008.0, 60.0, 0.25),
        Case("none: the last one is too large", with_head, b * 10**8 - 1, 1008.0, 48.0, 4.0),
    ]
    return question(
        "ps02.q4",
        "A model in two memories",
        "two_memories(…) is the number of layers in fast memory, and the tokens per second of the split model.",
        two_memories,
        properties=[
            agrees(NAMES[0], mixed, "From the last layer backwards, to the first misfit.", part="on_fast"),
            agrees(
                NAMES[1], mixed, "A token visits every layer: times add up.", points=2, part="tokens_per_s", **CLOSE
            ),
            agrees(NAMES[2], one, "Both ends of the same formula.", **CLOSE),
        ],  # fmt: skip
        wrong=WRONG,
    )
