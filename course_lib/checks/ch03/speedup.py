"""ch03.speedup: the formula behind the promise "four times as fast", to be repaired."""

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law


def speedup(params, bits, batch, gb_per_s, tflops, other_ms):
    def step_ms(b):
        read_ms = params * b / 8 / (gb_per_s * 1e9) * 1000
        compute_ms = 2 * params * batch / (tflops * 1e12) * 1000
        return max(read_ms, compute_ms) + other_ms

    return step_ms(16) / step_ms(bits)


def _promise(params, bits, batch, gb_per_s, tflops, other_ms):
    def step_ms(b):
        return params * b / 8 / (gb_per_s * 1e9) * 1000

    return step_ms(16) / step_ms(bits)


def _with(read=lambda ms, batch: ms, compute=lambda ms, b: ms, join=max, other=lambda ms: ms):
    """A variant of the formula: how reading, arithmetic and the other work are counted, and how the first two join."""

    def variant(params, bits, batch, gb_per_s, tflops, other_ms):
        def step_ms(b):
            read_ms = read(params * b / 8 / (gb_per_s * 1e9) * 1000, batch)
            compute_ms = compute(2 * params * batch / (tflops * 1e12) * 1000, b)
            return join(read_ms, compute_ms) + other(other_ms)

        return step_ms(16) / step_ms(bits)

    return variant


def _all_at_once(*args):
    other_ms = args[-1]
    return _with(join=lambda read, compute: max(read, compute, other_ms), other=lambda ms: 0.0)(*args)


def _between_nothing_and_the_bytes(got, params, bits, batch, gb_per_s, tflops, other_ms):
    most = 16 / bits
    if got < 1 - 1e-6:
        return f"{got:.4g} times as fast means slower. Less to read cannot make this step slower."
    return got <= most * (1 + 1e-6) or f"{most:.4g} times fewer bytes cannot make it {got:.4g} times as fast."


def _no_gain_past_the_break_even(got, params, bits, batch, gb_per_s, tflops, other_ms):
    compute = 2 * batch / (tflops * 1e12)
    if compute < 2 / (gb_per_s * 1e9) or abs(got - 1) < 1e-6:  # 2 bytes a weight at 16 bits
        return True
    return f"With {batch} sequences the arithmetic sets the time at 16 bits already. You promise {got:.4g}."


EXERCISE = Exercise(
    id="ch03.speedup",
    title="Repair the promise",
    spec="speedup(…): the time of a decode step at 16 bits over that at `bits`: reading or arithmetic, plus other_ms.",
    kind="repair",
    stub='''
def speedup(params, bits, batch, gb_per_s, tflops, other_ms):
    """How many times as fast as at 16 bits is a step at `bits`, with a token for each of `batch`?"""

    def step_ms(b):
        return params * b / 8 / (gb_per_s * 1e9) * 1000

    return step_ms(16) / step_ms(bits)
''',
    reference=speedup,
    cases=[
        Case("nothing but bytes", 7_000_000_000, 4, 1, 1000, 100, 0.0),
        Case("3 ms of other work", 7_000_000_000, 4, 1, 1000, 100, 3.0),
        Case("arithmetic sets both times", 7_000_000_000, 4, 256, 1000, 100, 0.0),
        Case("the same with 3 ms of other work", 7_000_000_000, 4, 256, 1000, 100, 3.0),
        Case("arithmetic sets the 4-bit time only", 7_000_000_000, 4, 50, 1000, 100, 0.0),
        Case("that one with 3 ms of other work", 7_000_000_000, 4, 50, 1000, 100, 3.0),
        Case("8 bits on an H100, batch 128", 70_000_000_000, 8, 128, 3350, 989.5, 5.0),
        Case("a small model: the rest takes longest", 2_623_744, 4, 1, 50, 0.1, 2.5),
    ],
    properties=[
        law(
            "between 1 and the bytes saved",
            _between_nothing_and_the_bytes,
            "Only the reading gets shorter, and by no more than that.",
        ),
        law("no gain past the break-even", _no_gain_past_the_break_even, "The arithmetic is the same at any bits."),
        equals_reference(rtol=1e-6, why="Products, quotients, one maximum and one sum."),
    ],
    wrong=[
        Wrong(
            "the promise, as it was",
            _promise,
            "It counts bytes only. A step also does 2 · params · batch operations, and other_ms of other work.",
        ),
        Wrong(
            "the arithmetic forgotten",
            _with(join=lambda read, compute: read),
            "From some batch on the arithmetic takes longer than the reading, and the longer of the two sets the time. "
            "(Is it there, but in seconds? The reading is in milliseconds.)",
        ),
        Wrong(
            "the other work forgotten",
            _with(other=lambda ms: 0.0),
            "other_ms goes by in both steps, at 16 bits and at fewer. Add it to each.",
        ),
        Wrong(
            "the other work in seconds",
            _with(other=lambda ms: ms / 1000),
            "step_ms counts milliseconds, and other_ms is in milliseconds already: add it as it is.",
        ),
        Wrong(
            "the shorter of the two",
            _with(join=min),
            "Reading and arithmetic go on together, and the step has to wait for the longer one: max, not min.",
        ),
        Wrong(
            "reading and arithmetic added",
            _with(join=lambda read, compute: read + compute),
            "The next weights are read while these are multiplied: the longer of the two counts, not their sum.",
        ),
        Wrong(
            "weights read once for every sequence",
            _with(read=lambda ms, batch: ms * batch),
            "One reading serves the whole batch. That is why batches pay.",
        ),
        Wrong(
            "the arithmetic shrinks with the bits",
            _with(compute=lambda ms, b: ms * b / 16),
            "A 4-bit weight is expanded to 16 bits before it is multiplied, so the arithmetic stays what it was.",
        ),
        Wrong(
            "one operation a weight",
            _with(compute=lambda ms, b: ms / 2),
            "A weight is multiplied and added: 2 operations for each sequence of the batch.",
        ),
        Wrong(
            "one sequence, whatever the batch",
            lambda params, bits, batch, *device: speedup(params, bits, 1, *device),
            "Every sequence of the batch needs its own 2 operations with each weight.",
        ),
        Wrong(
            "upside down",
            lambda *args: 1 / speedup(*args),
            "That is the new time over the old one. Twice as fast means old time / new time = 2.",
        ),
        Wrong(
            "the other work inside the maximum",
            _all_at_once,
            "other_ms comes after the layers, not at the same time: add it to the longer of the two.",
        ),
    ],
    hints=[
        "step_ms lacks two things: the arithmetic, which goes on while weights are read, and the rest of the step.",
        "7B, batch 1, 1000 GB/s, 100 TFLOPS, 3 ms: reading takes 14 ms at 16 bits and 3.5 at 4, the arithmetic "
        "0.14 ms. So (14 + 3) / (3.5 + 3) = 2.62.",
        "    def step_ms(b):\n        read_ms = params * b / 8 / (gb_per_s * 1e9) * 1000\n"
        "        compute_ms = 2 * ____ * ____ / (tflops * 1e12) * 1000\n        return max(____, ____) + ____",
    ],
    passed="Now the promise has its conditions: a small batch, a large model, little other work. And a fused kernel.",
)
