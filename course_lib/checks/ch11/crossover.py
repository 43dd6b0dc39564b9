"""ch11.crossover: from how many tokens on a step reads more cache than weights."""

from course_lib.checks import Case, Exercise, Wrong, equals_reference, relation


def crossover(matrices, bits, numbers, kv_bits):
    weights, token = matrices * bits, numbers * kv_bits  # both in bits
    return int(-(-weights // token))


def _exact(matrices, bits, numbers, kv_bits):
    return matrices * bits / (numbers * kv_bits)


def _variant(value):
    def wrong(matrices, bits, numbers, kv_bits):
        return int(value(matrices, bits, numbers, kv_bits))

    return wrong


def _up(x):
    return -int(-x // 1)


def _here(run, matrices, bits, numbers, kv_bits):
    n = run(matrices, bits, numbers, kv_bits)
    weights, token = matrices * bits, numbers * kv_bits
    if n * token < weights:
        return f"At {n} tokens the cache still has fewer bits than the weights: {n * token:.6g} < {weights:.6g}."
    if (n - 1) * token >= weights:
        return f"{n - 1} tokens are enough already: {(n - 1) * token:.6g} ≥ {weights:.6g} bits."
    return True


EXERCISE = Exercise(
    id="ch11.crossover",
    title="When weights stop being the bottleneck",
    spec="crossover(matrices, bits, numbers, kv_bits): the fewest tokens whose cache is as large as the weights.",
    kind="measure",
    stub='''
def crossover(matrices, bits, numbers, kv_bits):
    """Fewest tokens, over the whole batch, at which a decode step reads as many bits of cache as of weights, an int.

    matrices: weights read in every step, of `bits` bits each. numbers: what the cache keeps of one token in all
    layers, of `kv_bits` bits each.
    """
    ...
''',
    reference=crossover,
    cases=[
        Case("ten and one", 10, 16, 1, 16),
        Case("not even", 10, 16, 3, 16),
        Case("4-bit weights", 10, 4, 3, 16),
        Case("4-bit cache", 10, 16, 3, 4),
        Case("Llama 3 8B, 16 bits", 7_504_658_432, 16, 65_536, 16),
        Case("Llama 3 8B, 4.5 bits", 7_504_658_432, 4.5, 65_536, 16),
        Case("Llama 3 8B, 4.5 bits, a cache of 3", 7_504_658_432, 4.5, 65_536, 3),
    ],
    properties=[
        relation("the first such number", _here, "One token fewer, and the weights are still more."),
        equals_reference(why="A whole number of tokens."),
    ],
    wrong=[
        Wrong(
            "rounded down",
            _variant(_exact),
            "Rounded down, the cache is still the smaller. Asked is the first token at which it is not: round up.",
        ),
        Wrong(
            "bits of the weights forgotten",
            _variant(lambda m, b, n, k: _up(16 * m / (n * k))),
            "Weights of 4.5 bits are read as 4.5 bits. They cost less, so the crossover comes earlier.",
        ),
        Wrong(
            "bits of the cache forgotten",
            _variant(lambda m, b, n, k: _up(m * b / (n * 16))),
            "A cache of 4 bits is read as 4 bits: the crossover comes later than with one of 16.",
        ),
        Wrong(
            "the wrong way round",
            _variant(lambda m, b, n, k: _up(n * k / (m * b))),
            "You divided the cache of one token by the weights. How many times does the token fit into the weights?",
        ),
        Wrong(
            "divided by numbers, multiplied by bits",
            _variant(lambda m, b, n, k: _up(m * b / n * k)),
            "`a / n * k` is (a / n) · k: Python goes from left to right. Write a / (n * k).",
        ),
        Wrong(
            "bits exchanged",
            _variant(lambda m, b, n, k: _up(m * k / (n * b))),
            "Weights have `bits` bits each, numbers of the cache `kv_bits`. You have them the other way round.",
        ),
        Wrong(
            "keys and values once more",
            _variant(lambda m, b, n, k: _up(m * b / (2 * n * k))),
            "`numbers` holds keys and values already. No further factor of 2.",
        ),
        Wrong(
            "bytes against bits",
            _variant(lambda m, b, n, k: _up(m * b / 8 / (n * k))),
            "One side is in bytes, the other in bits. Keep both in the same unit.",
        ),
        Wrong(
            "numbers, not bits",
            _variant(lambda m, b, n, k: _up(m / n)),
            "That compares how many numbers there are. A step moves bits: multiply both sides by theirs.",
        ),
        Wrong(
            "always one more",
            _variant(lambda m, b, n, k: int(m * b // (n * k)) + 1),
            "Where it comes out even, that is a token too many: 160 bits are as many as 160. Round up, do not add 1.",
        ),
        Wrong(
            "rounded to the nearest",
            _variant(lambda m, b, n, k: round(m * b / (n * k))),
            "To the nearest is down in half of all cases, and then the cache is still the smaller. Round up.",
        ),
    ],
    hints=[
        "A step reads every weight once for the whole batch, and each sequence's own cache. At how many tokens are "
        "the two equal?",
        "10 weights of 4 bits are 40 bits. A token of 3 numbers of 16 bits is 48: after one token the cache is larger.",
        "    weights, token = matrices * ____, numbers * ____\n    return int(-(-weights // ____))",
    ],
    passed="Smaller weights move the crossover towards you: the better you quantize them, the sooner the cache counts.",
)
