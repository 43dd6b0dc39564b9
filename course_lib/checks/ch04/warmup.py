"""Warm-up questions about chapter 04: who shares a scale, what it costs, packed bytes, and what KL and top-1 say."""

import math

from course_lib.checks.warmups import Question


def number_of_scales(rng):
    rows, cols, g = rng.choice([64, 256, 512]), rng.choice([256, 512, 1024]), rng.choice([32, 64, 128])
    text = f"A matrix of {rows} rows and {cols} columns, one scale for every {g} neighbours in a row: how many scales?"
    return Question(text, rows * cols // g, f"A row has {cols} / {g} = {cols // g} groups, and there are {rows} rows.")


def bits_with_zero_points(rng):
    b, g, zero = rng.choice([2, 3, 4]), rng.choice([16, 32, 64]), rng.choice([0, 4, 8])
    also = f" and {zero}-bit zero points" if zero else ""
    text = f"{b}-bit codes in groups of {g}, with 16-bit scales{also}: how many stored bits a weight?"
    return Question(text, b + (16 + zero) / g, f"{b} + {16 + zero} / {g}.", "bits", atol=0.002)


def one_byte(rng):
    low, high = rng.randint(0, 15), rng.randint(1, 15)
    text = f"The 4-bit codes {low} and {high} share a byte, the first in the low bits. Which number is the byte?"
    return Question(text, low + 16 * high, f"The second begins at bit 4, where 1 is worth 16: {low} + 16 · {high}.")


def bytes_of_odd_codes(rng):
    n, b = rng.choice([10, 20, 30, 100]), rng.choice([3, 5])
    text = f"{n} codes of {b} bits lie side by side without gaps. How many bytes do they fill?"
    return Question(text, math.ceil(n * b / 8), f"{n} · {b} = {n * b} bits, and {n * b} / 8 is rounded up.", "bytes")


def code_in_its_group(rng):
    top, w = rng.choice([0.7, 1.4, 2.1, 7.0]), rng.choice([0.32, 0.6, -0.4, 1.2])
    w = w if abs(w) < top else w / 10
    s = top / 7
    code = round(w / s)
    text = f"A group's largest weight is {top}, 4 bits, symmetric. Which code does the weight {w:g} in it get?"
    return Question(text, code, f"s = {top} / 7 = {s:.3g}, and {w:g} / {s:.3g} = {w / s:.3g} is nearest to {code}.")


def kl_of_a_sure_model(rng):
    q = rng.choice([0.9, 0.8, 0.5, 0.25])
    text = f"The base gives one token probability 1, the quantized model {q}. How many nats is KL(base || quantized)?"
    because = f"Only that token has weight: 1 · ln(1 / {q})."
    return Question(text, -math.log(q), because, "nats", atol=0.006)


QUESTIONS = (
    number_of_scales,
    bits_with_zero_points,
    one_byte,
    bytes_of_odd_codes,
    code_in_its_group,
    kl_of_a_sure_model,
)
