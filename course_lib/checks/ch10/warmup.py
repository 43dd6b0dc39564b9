"""Warm-up questions about chapter 10: small floats, block scales, what they store."""

import math

from course_lib.checks.warmups import Question


def e2m1_code(rng):
    code = rng.randint(1, 7)
    number = (0, 0.5, 1, 1.5, 2, 3, 4, 6)[code]
    text = f"E2M1: a sign bit, two exponent bits with bias 1, one mantissa bit. Which number is the code 0{code:03b}?"
    return Question(text, number, "Code by code from 0000 these are 0, 0.5, 1, 1.5, 2, 3, 4, 6.", atol=1e-6)


def mx_exponent(rng):
    top = rng.choice([0.7, 1.3, 3.0, 5.0, 7.9, 10.0, 20.0])
    k = math.floor(math.log2(top)) - 2
    text = f"The largest |x| of an MXFP4 block is {top}. By OCP's rule its scale is 2 to the power of which number?"
    return Question(text, k, f"floor(log2 {top}) = {k + 2}, and 2 less.", atol=1e-6)


def clipped_to(rng):
    top = rng.choice([6.5, 7.1, 7.5, 7.9])
    text = f"A block's largest number is {top}, its scale is 1, its elements are E2M1. What does {top} come back as?"
    return Question(text, 6, "E2M1 ends at 6, and what lies beyond is clipped.", atol=1e-6)


def stored_bits(rng):
    n, scale = rng.choice([(32, 8), (16, 8), (64, 16), (128, 16)])
    text = f"4-bit codes in blocks of {n}, each with a scale of {scale} bits. How many bits a weight are stored?"
    return Question(text, 4 + scale / n, f"4 + {scale}/{n}.", atol=0.0006)


def saturated(rng):
    x = rng.choice([500, 1000, 449])
    text = f"torch casts {x} to float8_e4m3fn. Which number comes out?"
    return Question(
        text, 448, "torch saturates at the largest number, 448; other libraries give NaN above 464.", atol=1e-6
    )


def spacing(rng):
    m, e = rng.choice([(3, 4), (3, 0), (2, 3), (1, 2), (3, 6)])
    text = (
        f"A float has {m} bit{'s' * (m > 1)} of mantissa. How far apart are its numbers from {2**e} to {2 ** (e + 1)}?"
    )
    return Question(
        text, 2**e / 2**m, f"2^{m} equal steps from one power of two to the next: {2**e}/{2**m}.", atol=1e-6
    )


QUESTIONS = (e2m1_code, mx_exponent, clipped_to, stored_bits, saturated, spacing)
