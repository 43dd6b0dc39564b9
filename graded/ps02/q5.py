"""ps02.q5: from which batch on"""

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question
from graded.ps02.draw import draw


def crossover(params, a, b, gb_per_s, limit):
    """Smallest batch, from 1 to limit, at which a decode step with option b takes less time than with a; or None."""

    def seconds(option, batch):
        memory_s = params * option["bits"] / 8 / (gb_per_s * 1e9)
        compute_s = 2 * params * batch / (option["tflops"] * 1e12)
        return max(memory_s, compute_s) + option["overhead_us"] / 1e6

    for batch in range(1, limit + 1):
        if seconds(b, batch) < seconds(a, batch):
            return batch
    return None


def _seconds(params, option, batch, gb_per_s, join=max, flops=2, bit=8, overhead=1e-6):
    memory_s = params * option["bits"] / bit / (gb_per_s * 1e9)
    return join(memory_s, flops * params * batch / (option["tflops"] * 1e12)) + option["overhead_us"] * overhead


def _crossover(params, a, b, gb_per_s, limit, batches=None, less=lambda x, y: x < y, none=None, **seconds):
    for batch in batches or range(1, limit + 1):
        if batch <= limit and less(*(_seconds(params, o, batch, gb_per_s, **seconds) for o in (b, a))):
            return batch
    return none


def _clear(params, a, b, gb_per_s, limit):
    """Whether no step of the search hangs on one rounding."""
    times = [[_seconds(params, o, n, gb_per_s) for o in (a, b)] for n in range(1, limit + 1)]
    return all(x == y or abs(x - y) > 1e-9 * y for x, y in times)


NAMES = ("ordinary pairs", "overheads move it", "at once, never, and at the limit")


def _halving(params, a, b, gb_per_s, limit):
    low, high = 1, limit + 1
    while low < high:
        n = (low + high) // 2
        won = _seconds(params, b, n, gb_per_s) < _seconds(params, a, n, gb_per_s)
        low, high = (low, n) if won else (n + 1, high)
    return low if low <= limit else None


def _a_cost(params, a, b, gb_per_s, limit, seconds):
    return next((n for n in range(1, limit + 1) if seconds(b, n) < seconds(a, n)), None)


def _bytes_per_sequence(params, a, b, gb_per_s, limit):
    return _a_cost(
        params, a, b, gb_per_s, limit, lambda o, n: _seconds(params, {**o, "bits": n * o["bits"]}, n, gb_per_s)
    )


def _overhead_per_sequence(params, a, b, gb_per_s, limit):
    def seconds(o, n):
        return _seconds(params, {**o, "overhead_us": n * o["overhead_us"]}, n, gb_per_s)

    return _a_cost(params, a, b, gb_per_s, limit, seconds)


WRONG = [
    Mistake(
        "the overhead forgotten",
        lambda *a: _crossover(*a, overhead=0.0),
        "A step also costs overhead_us, whatever the batch.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "memory plus arithmetic",
        lambda *a: _crossover(*a, join=lambda x, y: x + y),
        "Loading and multiplying overlap: the slower one sets the time, not the sum.",
        loses=NAMES,
    ),
    Mistake(
        "one operation a weight",
        lambda *a: _crossover(*a, flops=1),
        "A weight costs a multiplication and an addition for each sequence: two operations.",
        loses=NAMES,
    ),
    Mistake(
        "bits taken for bytes",
        lambda *a: _crossover(*a, bit=1),
        "Weights have bits/8 bytes.",
        loses=NAMES,
    ),
    Mistake(
        "as fast is not faster",
        lambda *a: _crossover(*a, less=lambda x, y: x <= y),
        "Where both take the same time, b is not faster yet.",
        loses=(NAMES[0], NAMES[2]),
    ),
    Mistake(
        "only powers of two",
        lambda *a: _crossover(*a, batches=[2**k for k in range(12)]),
        "Batches are any whole numbers: try 1, 2, 3, …",
        loses=NAMES,
    ),
    Mistake(
        "the limit itself left out",
        lambda p, a, b, g, limit: _crossover(p, a, b, g, limit - 1),
        "range(1, limit) ends at limit − 1.",
        loses=NAMES[2:],
    ),
    Mistake(
        "halving the batches",
        _halving,
        "Bisection needs that b, once faster, stays so. Where both are held up by arithmetic they may be equal again.",
        loses=NAMES[2:],
    ),
    Mistake(
        "a against b",
        lambda params, a, b, *rest: crossover(params, b, a, *rest),
        "You found where a takes less time than b; asked for is the other way round.",
        loses=NAMES,
    ),
    Mistake(
        "from batch 0 on",
        lambda *a: 0 if _crossover(*a, batches=[0]) == 0 else crossover(*a),
        "A batch has at least one sequence: begin at 1.",
        loses=NAMES[1:],
    ),
    Mistake(
        "the limit instead of None",
        lambda *a: _crossover(*a, none=a[4]),
        "At the limit b is not faster either: where there is no such batch, return None.",
        loses=NAMES[2:],
    ),
    Mistake(
        "microseconds taken for milliseconds",
        lambda *a: _crossover(*a, overhead=1e-3),
        "overhead_us is in microseconds: 10^−6 seconds.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "weights read once a sequence",
        _bytes_per_sequence,
        "A step reads each weight once, however many sequences share it; only operations grow with the batch.",
        loses=NAMES,
    ),
    Mistake(
        "the overhead once a sequence",
        _overhead_per_sequence,
        "overhead_us is paid once a step, whatever the batch.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "one batch beyond the limit",
        lambda params, a, b, rate, limit: _crossover(params, a, b, rate, limit + 1),
        "range(1, limit + 2) tries one batch too many: the last one is limit.",
        loses=NAMES[2:],
    ),
]


def exercise(seed):
    def option(bits, tflops, overhead_us):
        return {"bits": bits, "tflops": tflops, "overhead_us": overhead_us}

    x, y, z = draw(seed, (0, 40), (0, 40), (0, 9))
    size = (70 + z) * 10**8
    cards = [(3350.0, 989.5 - x), (1008.0, 165.2 + y / 2), (864.0, 362.0 + x)]
    ordinary = [
        Case(f"card {i}: 4-bit weights against 8-bit everything", size, option(4.125, peak, 40.0),
             option(8.0, 2 * peak, 40.0), rate, 600)
        for i, (rate, peak) in enumerate(cards)
    ]  # fmt: skip
    ordinary.append(
        Case(
            "the same bits, a faster multiplier",
            size,
            option(8.0, 300.0 + x, 5.0),
            option(8.0, 620.0, 5.0),
            2000.0,
            400,
        )
    )
    overhead = [
        Case("b starts late", size, option(4.25, 500.0 + y, 10.0), option(8.0, 1000.0, 900.0 + 10 * z), 3350.0, 900),
        Case("b starts a little late", size, option(4.25, 500.0 + y, 40.0), option(8.25, 1000.0, 45.0), 3350.0, 900),
        Case("b starts early", size, option(4.25, 500.0 + y, 700.0), option(6.0, 1000.0, 100.0 + z), 3350.0, 900),
    ]
    ends = [
        Case("at once", size, option(16.0, 400.0, 20.0), option(4.5, 400.0, 20.0), 1555.0, 900),
        Case("never", size, option(4.5, 400.0 + x, 20.0), option(16.0, 400.0 + x, 20.0), 1555.0, 512),
        Case("not within the limit", size, option(4.125, 989.5, 40.0), option(8.0, 1979.0, 40.0), 3350.0, 99),
        Case("just within the limit", *_at_its_limit(size, option)),
        Case("one batch short of it", *_at_its_limit(size, option, 1)),
    ]
    assert all(_clear(*case.args) for case in ordinary + overhead + ends)
    return question(
        "ps02.q5",
        "From which batch on?",
        "crossover(params, a, b, gb_per_s, limit) is the smallest batch at which b is faster than a, or None.",
        crossover,
        properties=[
            agrees(NAMES[0], ordinary, "The slower of two roofs sets the time.", points=2),
            agrees(NAMES[1], overhead, "Overhead is paid once a step, on top."),
            agrees(NAMES[2], ends, "The batches run from 1 to limit, both included."),
        ],
        wrong=WRONG,
    )


def _at_its_limit(size, option, short=0):
    a, b, rate = option(4.125, 700.0, 30.0), option(8.0, 1400.0, 30.0), 2000.0
    return size, a, b, rate, crossover(size, a, b, rate, 10_000) - short
