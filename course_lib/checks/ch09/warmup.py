"""Warm-up questions about chapter 09: what blocks cost, what their bytes say, how a scale is refined."""

from course_lib.checks.warmups import Question


def bits_of_a_block(rng):
    name, size, n = rng.choice([("Q4_0", 18, 32), ("Q8_0", 34, 32), ("Q4_K", 144, 256), ("Q6_K", 210, 256)])
    text = f"A block of {name} has {size} bytes and holds {n} weights. How many bits is that a weight?"
    return Question(text, 8 * size / n, f"8 · {size} / {n}.", atol=0.0006)


def scale_of_q4_0(rng):
    top, other = rng.choice([1.6, -0.8, 2.4, -4.0]), rng.choice([0.4, -0.2])
    text = f"In a block of Q4_0 the weight of largest size is {top}, another one is {other}. What is d?"
    return Question(text.replace("-", "−"), top / -8, f"{top} / −8, with its sign.".replace("-", "−"), atol=0.0006)


def decoded(rng):
    d, q = rng.choice([0.25, -0.5, 0.125]), rng.randrange(16)
    text = f"A block of Q4_0 has d = {d}, and a weight the code {q}. Which number is that?".replace("-", "−")
    return Question(text, d * (q - 8), f"d · (q − 8) = {d} · ({q} − 8).".replace("-", "−"), atol=0.0006)


def q4_k_weight(rng):
    d, sc, q, dmin, m = 0.01, rng.randrange(1, 64), rng.randrange(16), 0.02, rng.randrange(1, 20)
    text = f"Q4_K: d = {d}, scale {sc}, code {q}, dmin = {dmin}, minimum {m}. Which weight is that?"
    return Question(text, d * sc * q - dmin * m, f"{d} · {sc} · {q} − {dmin} · {m}.", atol=0.0006)


def least_squares(rng):
    w, q = [rng.randint(1, 9), rng.randint(1, 9)], [rng.randint(1, 4), rng.randint(1, 4)]
    text = f"Two weights {w[0]} and {w[1]} have the codes {q[0]} and {q[1]}, and count alike. Which scale errs least?"
    value = (w[0] * q[0] + w[1] * q[1]) / (q[0] ** 2 + q[1] ** 2)
    return Question(text, value, "Σ w q / Σ q².", atol=0.006)


QUESTIONS = (bits_of_a_block, scale_of_q4_0, decoded, q4_k_weight, least_squares)
