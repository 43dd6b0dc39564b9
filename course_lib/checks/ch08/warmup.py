"""Warm-up questions about chapter 08: fields and their sizes, alignment, the permutation, slots."""

from course_lib.checks.warmups import Question


def padding(rng):
    size = rng.choice([100, 72, 210, 144, 40])
    text = f"A tensor of {size} bytes lies in a GGUF file aligned to 32. How many bytes of padding follow it?"
    return Question(text, -size % 32, f"The next multiple of 32 is {size + -size % 32}.")


def string_bytes(rng):
    key = rng.choice(["general.name", "llama.block_count", "general.architecture", "a.key"])
    text = f"How many bytes does the key `{key}` take in a GGUF file, its length included?"
    return Question(text, 8 + len(key), f"8 for the length, {len(key)} for the text, none for an end.")


def info_bytes(rng):
    size, dims = rng.randint(3, 20), rng.choice([1, 2, 3])
    text = f"A tensor has {dims} dimension{'s' * (dims > 1)} and a name of {size} bytes. How many bytes has its info?"
    return Question(text, 24 + size + 8 * dims, f"8 + {size} + 4 + {dims} · 8 + 4 + 8.")


def where_a_row_goes(rng):
    head, half = rng.randint(0, 3), rng.choice([4, 8, 32])
    row = rng.randint(0, half - 1)
    text = f"Heads have {2 * half} rows. To which row does row {2 * half * head + row} of w_q move in a GGUF file?"
    return Question(text, 2 * half * head + 2 * row, f"Row {row} of head {head} becomes its row 2 · {row}.")


def little_endian(rng):
    a, b = rng.randint(1, 255), rng.randint(1, 3)
    text = f"A u32 in a GGUF file reads `{a:02x} {b:02x} 00 00`. Which number is that?"
    return Question(text, a + 256 * b, f"The smallest byte comes first: {a} + 256 · {b}.")


def slots(rng):
    layers = rng.choice([16, 28, 32, 80])
    text = f"A model has {layers} layers. Which -ngl puts the whole of it on a GPU?"
    return Question(text, layers + 1, "The output layer counts, too.")


QUESTIONS = (padding, string_bytes, info_bytes, where_a_row_goes, little_endian, slots)
