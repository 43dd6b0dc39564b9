"""Warm-up questions about chapter 05: contracts, whole-number products, SmoothQuant's factor, NF4's bits."""

import math

from course_lib.checks.warmups import Question


def bytes_of_a_contract(rng):
    w, a, params = rng.choice([4, 8]), rng.choice([4, 8, 16]), rng.choice([7, 13, 70])
    text = f"A model of {params} billion weights under W{w}A{a}, scales left out: how many GB do its weights take?"
    return Question(text, params * w / 8, f"W{w} is the weights' part: {params} · {w} / 8. A{a} is not stored.", "GB")


def product_of_codes(rng):
    qx, qw = [rng.randint(1, 9) for _ in range(2)], [rng.randint(1, 9) for _ in range(2)]
    sx, sw = rng.choice([0.5, 0.1, 0.2]), rng.choice([0.5, 0.1, 0.01])
    whole = qx[0] * qw[0] + qx[1] * qw[1]
    text = f"Codes of x: {qx[0]} and {qx[1]}, s = {sx}. Codes of w: {qw[0]} and {qw[1]}, s = {sw}. What is the output?"
    because = f"{qx[0]}·{qw[0]} + {qx[1]}·{qw[1]} = {whole}, times {sx} · {sw}."
    return Question(text, whole * sx * sw, because, atol=0.0006)


def with_a_zero_point(rng):
    qx, zx, qw = rng.randint(5, 20), rng.choice([8, 10]), rng.randint(2, 9)
    text = (
        f"One channel: code {qx} with zero point {zx}, and code {qw} without one. What is their product in whole steps?"
    )
    return Question(text, (qx - zx) * qw, f"({qx} − {zx}) · {qw}: as stored, {qx * qw}, less {zx} · {qw}.")


def smoothing_factor(rng):
    x, w = rng.choice([64, 16, 4]), rng.choice([0.25, 1, 0.0625])
    text = f"A channel: max|x| = {x}, max|w| = {w}. Which factor s does SmoothQuant take at α = 0.5?"
    return Question(text, math.sqrt(x / w), f"√{x} / √{w}.", atol=0.006)


def after_smoothing(rng):
    x, s = rng.choice([96, 60, 24]), rng.choice([2, 4, 8])
    text = f"A channel's inputs reach {x}. After smoothing with s = {s}, how far do they reach?"
    return Question(text, x / s, f"Inputs are divided by s, weights multiplied: {x} / {s}.", atol=0.006)


def double_quantization(rng):
    g, scales = rng.choice([32, 64, 128]), rng.choice([128, 256])
    text = f"4-bit codes, an 8-bit scale for {g}, and a 32-bit scale for {scales} of those: how many bits a weight?"
    return Question(text, 4 + 8 / g + 32 / (g * scales), f"4 + 8 / {g} + 32 / ({g} · {scales}).", "bits", atol=0.0006)


QUESTIONS = (
    bytes_of_a_contract,
    product_of_codes,
    with_a_zero_point,
    smoothing_factor,
    after_smoothing,
    double_quantization,
)
