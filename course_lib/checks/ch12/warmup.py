"""Warm-up questions about chapter 12: lanes, nibbles, instructions a weight, sectors, the magic number."""

from course_lib.checks.warmups import Question


def idle_lanes(rng):
    k, B = rng.choice([100, 300, 1000, 4095]), rng.choice([32, 64, 128])
    text = f"A kernel sums a row of {k} columns in tiles of {B}. How many lanes of its last tile must be masked?"
    return Question(text, -k % B, f"⌈{k}/{B}⌉ tiles have {-(-k // B) * B} lanes; {k} of them are columns.", "lanes")


def nibble(rng):
    word, j = rng.randrange(2**28, 2**31), rng.randint(1, 6)
    text = f"Which code, 0 to 15, is nibble {j} of the word 0x{word:08x}? (Nibble 0 is the lowest.)"
    return Question(text, word >> (4 * j) & 15, f"The hexadecimal digit {j} places from the right end is the nibble.")


def instructions(rng):
    count, rows, columns = rng.choice([256, 384, 640]), rng.choice([16, 32]), rng.choice([256, 512])
    each = count * 128 / (rows * columns)
    text = f"A loop of {count} instructions, run by 128 threads, handles {rows} × {columns} weights in a turn. "
    return Question(text + "How many instructions is that a weight?", each, f"{count} · 128 / ({rows} · {columns}).",
                    atol=0.006)  # fmt: skip


def sectors(rng):
    apart, lanes = rng.choice([64, 128, 4096]), rng.choice([16, 32])
    text = f"{lanes} lanes each read one 2-byte number, {apart} bytes apart. Memory moves in sectors of 32 bytes. "
    text += "How many bytes move?"
    return Question(text, 32 * lanes, f"Each number lies in a sector of its own: {lanes} · 32.", "bytes")


def magic(rng):
    q = rng.randint(1, 15)
    text = f"0x6400 are the bits of 1024.0 in float16. Which number has the bits 0x6400 | {q}?"
    return Question(text, 1024 + q, f"The last mantissa bit is worth 1 there: 1024 + {q}.")


QUESTIONS = (idle_lanes, nibble, instructions, sectors, magic)
