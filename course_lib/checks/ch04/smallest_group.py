"""ch04.smallest_group: the finest scales that a budget of stored bits per weight can pay for."""

import math

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law


def smallest_group(b, budget, scale_bits=16, zero_bits=0):
    g = 1
    while b + (scale_bits + zero_bits) / g > budget:
        g *= 2
    return g


def _stored(b, g, scale_bits, zero_bits):
    return b + (scale_bits + zero_bits) / g


def _fits(got, b, budget, scale_bits=16, zero_bits=0):
    if got < 1:
        return f"A group holds at least one weight; yours holds {got}."
    bits = _stored(b, got, scale_bits, zero_bits)
    note = f"{b} + {scale_bits + zero_bits} / {got} = {bits:.4g} bits a weight"
    return bits <= budget or f"Groups of {got} store {note}, and the budget is {budget:.4g}."


def _power_of_two(got, b, budget, scale_bits=16, zero_bits=0):
    return got >= 1 and got & (got - 1) == 0 or f"{got} is no power of two: 1, 2, 4, 8 …"


def _no_smaller(got, b, budget, scale_bits=16, zero_bits=0):
    if got <= 1:
        return True
    bits = _stored(b, got / 2, scale_bits, zero_bits)
    return bits > budget or f"Groups of {got // 2} would store {bits:.4g} bits a weight, and {budget:.4g} are allowed."


def _search(stored, fits=lambda bits, budget: bits <= budget, start=1, step=2):
    """A search that counts the stored bits in another way."""

    def answer(b, budget, scale_bits=16, zero_bits=0):
        g = start
        while not fits(stored(b, g, scale_bits, zero_bits), budget) and g < 2**20:
            g *= step
        return g

    return answer


def _one_step_short(b, budget, scale_bits=16, zero_bits=0):
    return max(1, smallest_group(b, budget, scale_bits, zero_bits) // 2)


def _below_one(b, budget, scale_bits=16, zero_bits=0):
    return 2 ** math.ceil(math.log2((scale_bits + zero_bits) / (budget - b)))


def _exact_division(b, budget, scale_bits=16, zero_bits=0):
    g = (scale_bits + zero_bits) / (budget - b)
    return max(1, round(g))


EXERCISE = Exercise(
    id="ch04.smallest_group",
    title="How fine can you afford?",
    spec="smallest_group(b, budget, …): the smallest power of two g whose stored bits per weight are at most budget.",
    kind="design",
    stub='''
def smallest_group(b, budget, scale_bits=16, zero_bits=0):
    """The smallest g of 1, 2, 4, 8 … that stores at most `budget` bits a weight, all included."""
    ...
''',
    reference=smallest_group,
    piece="smallest_group",
    cases=[
        Case("half a bit to spend", 4, 4.5),
        Case("half a bit, with zero points", 4, 4.5, 16, 4),
        Case("an eighth of a bit", 4, 4.125),
        Case("between two powers", 4, 4.2),
        Case("three bits, with zero points", 3, 3.5, 16, 3),
        Case("two bits, in place of four", 2, 4.0),
        Case("scales of 8 bits", 4, 4.25, 8),
        Case("scales of 32 bits", 4, 4.5, 32),
        Case("a rich budget", 4, 20.0),
        Case("nearly nothing left", 4, 4.01),
        Case("more than one can spend", 2, 40.0),
    ],
    properties=[
        law("within the budget", _fits, "What is stored a weight: b + (scale_bits + zero_bits) / g."),
        law("a power of two", _power_of_two, "Rows are as long as powers of two, so that such groups divide them."),
        law("no smaller group would do", _no_smaller, "Smaller groups are finer; you asked for the finest affordable."),
        equals_reference(why="There is exactly one such g."),
    ],
    wrong=[
        Wrong(
            "zero points forgotten",
            _search(lambda b, g, scale_bits, zero_bits: b + scale_bits / g),
            "An asymmetric group stores a zero point beside its scale: (scale_bits + zero_bits) / g.",
        ),
        Wrong(
            "scale counted in bytes",
            _search(lambda b, g, scale_bits, zero_bits: b + (scale_bits + zero_bits) / 8 / g),
            "You divided by 8. The budget is in bits, and so are scale_bits and zero_bits.",
        ),
        Wrong(
            "every weight pays for the whole scale",
            _search(lambda b, g, scale_bits, zero_bits: b + scale_bits + zero_bits),
            "The g weights of a group share one scale, so each of them pays a g-th part.",
        ),
        Wrong(
            "always scales of 16 bits",
            _search(lambda b, g, scale_bits, zero_bits: b + (16 + zero_bits) / g),
            "Scales may be stored in another number of bits: use scale_bits.",
        ),
        Wrong(
            "strictly below the budget",
            _search(_stored, fits=lambda bits, budget: bits < budget),
            "At most means ≤: a group that spends the budget exactly is allowed.",
        ),
        Wrong(
            "one step too far",
            _one_step_short,
            "Your loop goes one halving too far. Stop at the last g that still fits.",
        ),
        Wrong(
            "no power of two",
            _exact_division,
            "You solved for g and took what came out. Go on to the next power of two that fits.",
        ),
        Wrong(
            "less than one weight",
            _below_one,
            "With much to spend the formula asks for half a weight a group. A group has at least one: max(1, …).",
        ),
        Wrong(
            "codes not counted",
            _search(lambda b, g, scale_bits, zero_bits: (scale_bits + zero_bits) / g),
            "The budget pays for the codes as well: b bits for each weight come first.",
        ),
    ],
    hints=[
        "What does a weight cost? Its code, and its share of the scale and the zero point. Then try g = 1, 2, 4 …",
        "b = 4, budget = 4.5, 16-bit scales: g = 16 stores 4 + 16/16 = 5, too much. g = 32 stores 4.5. So 32.",
        "def smallest_group(b, budget, scale_bits=16, zero_bits=0):\n    g = 1\n"
        "    while ____ + (____ + ____) / g > ____:\n        g *= 2\n    return g",
    ],
    passed="Bits per weight, the other way round. Whether groups are the best way to spend them is the next question.",
)
