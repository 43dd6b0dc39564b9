"""Warm-up questions about chapter 11: bytes a token, windows, pages, bits with their scales."""

from course_lib.checks.warmups import Question


def bytes_a_token(rng):
    layers, heads, dim = rng.choice([16, 24, 32]), rng.choice([2, 4, 8]), rng.choice([64, 128])
    text = f"{layers} layers with {heads} key-value heads of {dim} each: how many KiB does one token take at 16 bits?"
    answer = 2 * 2 * layers * heads * dim / 1024
    return Question(text, answer, f"K and V, 2 bytes each: 2 · 2 · {layers} · {heads} · {dim} / 1024.", "KiB")


def window(rng):
    tokens, size, layers = rng.choice([4096, 8192]), rng.choice([512, 1024]), rng.choice([3, 5])
    text = (
        f"Of {layers + 1} layers one keeps every token, {layers} have a window of {size}. How many tokens of {tokens}"
    )
    text += " are kept, all layers counted?"
    return Question(text, tokens + layers * size, f"{tokens} + {layers} · {size}.")


def blocks(rng):
    n, block = rng.randint(70, 190), rng.choice([16, 32])
    text = f"A sequence has {n} tokens. How many blocks of {block} does it hold?"
    return Question(text, -(-n // block), f"{n} / {block}, rounded up: a block is taken whole.")


def bits_with_scales(rng):
    b, g = rng.choice([2, 4]), rng.choice([32, 64, 128])
    text = f"A cache has {b}-bit codes and a 16-bit scale and a 16-bit offset for every {g}. How many bits is a number?"
    return Question(text, b + 32 / g, f"{b} + (16 + 16) / {g}.", "bits", atol=0.0006)


def which_axis(rng):
    loud, step = rng.choice([12, 15]), rng.choice([3, 15])
    bits = {3: 2, 15: 4}[step]
    text = f"A key's numbers: one is {loud}, the least is 0. One range a token, {bits} bits: what is the step?"
    return Question(text, loud / step, f"From 0 to {loud} in 2^{bits} − 1 = {step} steps: {loud} / {step}.", atol=0.006)


QUESTIONS = (bytes_a_token, window, blocks, bits_with_scales, which_axis)
