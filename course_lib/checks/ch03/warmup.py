"""Warm-up questions about chapter 03: bytes of weights and scales, units, and what reading them costs."""

from course_lib.checks.warmups import Question


def gigabytes(rng):
    billions, bits = rng.choice([3, 7, 8, 13, 32, 70]), rng.choice([2, 3, 4, 8, 16])
    text = f"A model has {billions} billion weights of {bits} bits, without scales. How many GB (10⁹ bytes) is that?"
    return Question(text, billions * bits / 8, f"{billions} billion · {bits} / 8 bytes.", "GB", atol=0.01)


def stored_bits(rng):
    bits, group, zero = rng.choice([2, 3, 4]), rng.choice([16, 32, 64, 128]), rng.choice([0, 0, 4])
    also = f" and a {zero}-bit zero point" if zero else ""
    text = f"Codes of {bits} bits, each group of {group} with a 16-bit scale{also}: how many bits are stored a weight?"
    because = f"A group stores {16 + zero} bits more, shared by {group} weights: {bits} + {16 + zero} / {group}."
    return Question(text, bits + (16 + zero) / group, because, "bits", atol=0.002)


def gib_to_gb(rng):
    gib = rng.choice([8, 16, 24, 40, 80])
    text = f"A card holds {gib} GiB. How many GB (10⁹ bytes) is that?"
    return Question(text, gib * 2**30 / 1e9, f"{gib} · 2³⁰ / 10⁹: a GiB is 7.4 % more than a GB.", "GB", atol=0.05)


def token_ceiling(rng):
    gigabytes, bandwidth = rng.choice([(4, 400), (2, 100), (5, 1000), (35, 3500), (8, 800), (4, 1000)])
    text = f"{gigabytes} GB of weights, a bandwidth of {bandwidth} GB/s, one reply: how many tokens a second at most?"
    because = f"Every weight is read for every token: {bandwidth} / {gigabytes}."
    return Question(text, bandwidth / gigabytes, because, "tokens a second", atol=0.5)


def with_other_work(rng):
    slow, fast, other = rng.choice([(12, 3, 1), (16, 4, 2), (14, 3.5, 3), (20, 5, 5), (8, 2, 4)])
    text = (
        f"Reading takes {slow} ms at 16 bits, {fast} ms at 4; other work {other} ms. How many times as fast is 4 bits?"
    )
    because = f"({slow} + {other}) / ({fast} + {other}): the other work goes by in both."
    return Question(text, (slow + other) / (fast + other), because, "times", atol=0.01)


def batch_of_even(rng):
    ridge, bits = rng.choice([100, 200, 320]), rng.choice([4, 8])
    text = (
        f"A device does {ridge} operations in the time of one byte, and a weight has {bits} bits. "
        "From which batch on does arithmetic set the time of a decode step?"
    )
    because = f"{bits} bits are {bits / 8:g} bytes: time for {ridge * bits / 8:g} operations, 2 a sequence."
    return Question(text, ridge * bits / 16, because, "sequences", atol=0.5)


QUESTIONS = (gigabytes, stored_bits, gib_to_gb, token_ceiling, with_other_work, batch_of_even)
