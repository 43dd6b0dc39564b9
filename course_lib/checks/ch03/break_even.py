"""ch03.break_even: the batch from which arithmetic, and no longer the weights' bytes, sets the time of a step."""

import math

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law, relation


def break_even(bits, gb_per_s, tflops):
    operations_per_byte = tflops * 1e12 / (gb_per_s * 1e9)
    return operations_per_byte * (bits / 8) / 2


def _ridge(gb_per_s, tflops):
    return tflops * 1e12 / (gb_per_s * 1e9)


def _both_take_as_long(got, bits, gb_per_s, tflops):
    if not (math.isfinite(got) and got > 0):
        return f"A batch of {got:.4g} is no number of sequences."
    read_us, compute_us = 1e9 * bits / 8 / (gb_per_s * 1e9) * 1e6, 2e9 * got / (tflops * 1e12) * 1e6
    told = (
        f"A billion weights: reading them takes {read_us:.4g} µs; two operations with each of them, "
        f"for your {got:.4g} sequences, take {compute_us:.4g} µs."
    )
    return abs(read_us - compute_us) <= 1e-6 * read_us or told


def _in_step_with_bits(run, bits, gb_per_s, tflops):
    four, eight = run(4, gb_per_s, tflops), run(8, gb_per_s, tflops)
    told = f"On this device you say {four:.4g} at 4 bits and {eight:.4g} at 8."
    return abs(eight - 2 * four) <= 1e-6 * abs(eight) or told


EXERCISE = Exercise(
    id="ch03.break_even",
    title="Where fewer bits stop helping",
    spec="break_even(bits, gb_per_s, tflops): the batch at which reading the weights takes as long as multiplying.",
    kind="build",
    stub='''
def break_even(bits, gb_per_s, tflops):
    """The batch at which reading the weights once takes as long as multiplying with all of them."""
    ...
''',
    reference=break_even,
    cases=[
        Case("by hand: 100 operations a byte", 16, 1000, 100),
        Case("the same device at 4 bits", 4, 1000, 100),
        Case("one byte a weight", 8, 500, 50),
        Case("an H100 at 16 bits", 16, 3350, 989.5),
        Case("an H100 at 4.125 bits", 4.125, 3350, 989.5),
        Case("a laptop at 4 bits", 4, 89.6, 1.0),
    ],
    properties=[
        law("both take equally long there", _both_take_as_long, "That is what break-even means."),
        relation(
            "twice the bits, twice the batch", _in_step_with_bits, "Twice the bytes, twice the time to multiply in."
        ),
        equals_reference(rtol=1e-6, why="A product and a quotient."),
    ],
    wrong=[
        Wrong(
            "the same for any bits",
            lambda bits, gb_per_s, tflops: _ridge(gb_per_s, tflops),
            "That is the device's operations per byte, right for 16 bits only. A 4-bit weight is half a byte.",
        ),
        Wrong(
            "one operation a weight",
            lambda bits, gb_per_s, tflops: _ridge(gb_per_s, tflops) * bits / 8,
            "A weight is multiplied and added: two operations for each sequence.",
        ),
        Wrong(
            "two operations, above the line",
            lambda bits, gb_per_s, tflops: _ridge(gb_per_s, tflops) * bits / 8 * 2,
            "Two operations for each sequence use up the time twice as soon: divide by 2, do not multiply.",
        ),
        Wrong(
            "bits taken for bytes",
            lambda bits, gb_per_s, tflops: _ridge(gb_per_s, tflops) * bits / 2,
            "Bandwidth counts bytes. A weight is bits / 8 of them.",
        ),
        Wrong(
            "the other way round",
            lambda bits, gb_per_s, tflops: 1 / (_ridge(gb_per_s, tflops) * bits / 16),
            "More arithmetic per second moves the break-even up: tflops belongs above the line, bandwidth below.",
        ),
        Wrong(
            "fewer bits, a later break-even",
            lambda bits, gb_per_s, tflops: _ridge(gb_per_s, tflops) * 16 / bits,
            "With fewer bytes to read, the arithmetic overtakes them sooner: bits belongs above the line.",
        ),
        Wrong(
            "rounded to a whole batch",
            lambda bits, gb_per_s, tflops: round(_ridge(gb_per_s, tflops) * bits / 16),
            "The two times are equal at a number that need not be whole. Return it as it comes, without rounding.",
        ),
        Wrong(
            "rounded up to a whole batch",
            lambda bits, gb_per_s, tflops: math.ceil(_ridge(gb_per_s, tflops) * bits / 16),
            "The first whole batch that is bound by arithmetic is one step later. Asked is the point itself.",
        ),
        Wrong(
            "one byte a weight",
            lambda bits, gb_per_s, tflops: _ridge(gb_per_s, tflops) / 2,
            "That is right for 8 bits, where a weight is one byte. In general it is bits / 8 bytes.",
        ),
        Wrong(
            "tera and giga mixed up",
            lambda bits, gb_per_s, tflops: tflops / gb_per_s * bits / 16,
            "tflops are 10¹² operations a second, gb_per_s are 10⁹ bytes a second: the ratio is 1000 times larger.",
        ),
    ],
    hints=[
        "Write down two times for one weight: reading bits / 8 bytes, and 2 · batch operations. Set them equal.",
        "1000 GB/s and 100 TFLOPS: 100 operations in the time of one byte. A 16-bit weight is 2 bytes: 200 operations, "
        "2 for each sequence, so 100 sequences. A 4-bit weight is half a byte: 50 operations, 25 sequences.",
        "def break_even(bits, gb_per_s, tflops):\n    operations_per_byte = ____ / ____\n"
        "    return operations_per_byte * ____ / ____",
    ],
    passed="Below this batch, going to fewer bits still saves time. Above it, it saves memory and no time at all.",
)
