"""ch14.first: which artifact to try first, from the weights, the cache, the room and the machine."""

from course_lib.checks import Case, Exercise, Wrong, equals_reference


def first(weights, cache, room, gpu, fp8):
    if not gpu:
        return "gguf"
    if fp8 and weights / 2 + cache <= room:
        return "fp8"
    if weights * 4.5 / 16 + cache <= room:
        return "awq"
    if weights * 4.5 / 16 + cache / 2 <= room:
        return "awq, fp8 cache"
    return "gguf, offloaded"


def _tree(eight=8.0, four=4.5, cached=1.0, half=0.5, fp8_always=False, cache_first=False, strict=False, gguf=False):
    """The reference with one branch bent."""

    def wrong(weights, cache, room, gpu, fp8):
        def fits(need):
            return need < room if strict else need <= room

        if not gpu and not gguf:
            return "gguf"
        if (fp8 or fp8_always) and fits(weights * eight / 16 + cached * cache):
            return "fp8"
        if cache_first and fits(weights * four / 16 + cache / 2):
            return "awq, fp8 cache"
        if fits(weights * four / 16 + cached * cache):
            return "awq"
        if fits(weights * four / 16 + cached * cache * half):
            return "awq, fp8 cache"
        return "gguf, offloaded"

    return wrong


def _machine_last(weights, cache, room, gpu, fp8):
    found = first(weights, cache, room, True, fp8)
    return "gguf" if found == "gguf, offloaded" and not gpu else found


def _cache_shrinks(weights, cache, room, gpu, fp8):
    if not gpu:
        return "gguf"
    if fp8 and (weights + cache) / 2 <= room:
        return "fp8"
    return "awq" if (weights + cache) * 4.5 / 16 <= room else "gguf, offloaded"


def _smallest(weights, cache, room, gpu, fp8):
    if not gpu:
        return "gguf"
    if weights * 4.5 / 16 + cache <= room:
        return "awq"
    if weights * 4.5 / 16 + cache / 2 <= room:
        return "awq, fp8 cache"
    return "gguf, offloaded"


def _fp8_or_nothing(weights, cache, room, gpu, fp8):
    found = first(weights, cache, room, gpu, fp8)
    return found if found in ("gguf", "fp8") or not fp8 else "gguf, offloaded"


def _no_half_cache(weights, cache, room, gpu, fp8):
    found = first(weights, cache, room, gpu, fp8)
    return "gguf, offloaded" if found == "awq, fp8 cache" else found


def _no_offload(weights, cache, room, gpu, fp8):
    found = first(weights, cache, room, gpu, fp8)
    return "awq, fp8 cache" if found == "gguf, offloaded" else found


EXERCISE = Exercise(
    id="ch14.first",
    title="What to try first",
    spec="first(weights, cache, room, gpu, fp8): the mildest artifact that fits and that the machine runs.",
    kind="design",
    stub='''
def first(weights, cache, room, gpu, fp8):
    """The first candidate, asked in this order; sizes in GiB: weights and cache at 16 bits, room for both together.

    no GPU: "gguf". FP8 units, and it fits with weights of 8 bits: "fp8". It fits with weights of 4.5 bits: "awq".
    With half the cache it does: "awq, fp8 cache". Otherwise: "gguf, offloaded".
    """
    ...
''',
    reference=first,
    cases=[
        Case("a laptop", 15, 1, 12, False, False),
        Case("8B on an H100", 15, 1, 70, True, True),
        Case("8B on a 3090", 15, 1, 21, True, False),
        Case("70B on an H100", 131, 2, 70, True, True),
        Case("70B on an H100, not quite at 8 bits", 141, 2, 70, True, True),
        Case("70B on an A100", 131, 2, 70, True, False),
        Case("many long talks", 15, 20, 21, True, False),
        Case("and FP8 units", 15, 20, 21, True, True),
        Case("70B on a 24 GB card", 131, 2, 21, True, True),
        Case("just so", 16, 4, 8.5, True, False),
        Case("scales count", 16, 4, 8.2, True, False),
        Case("all of them", 16, 4, 8.45, True, False),
        Case("less than bare codes take", 16, 4, 7.8, True, False),
        Case("half a cache, just so", 16, 8, 8.5, True, False),
        Case("half a cache, not quite", 16, 8, 8.45, True, False),
        Case("8 bits, just so", 16, 4, 12, True, True),
        Case("8 bits, not quite", 15, 1, 8.3, True, True),
        Case("a laptop that is too small", 131, 2, 12, False, False),
        Case("the cache alone is too much", 15, 60, 21, True, True),
    ],
    properties=[equals_reference(why="Five answers, in the order of the questions.")],
    wrong=[
        Wrong(
            "the cache forgotten",
            _tree(cached=0.0),
            "You compared the weights alone with the room. The cache of the load lies in the same memory.",
        ),
        Wrong(
            "4 bits without scales",
            _tree(four=4.0),
            "4-bit codes come with scales and zeros: about 4.5 bits a weight, as the docstring says.",
        ),
        Wrong(
            "divided by 4.5",
            _tree(four=16 / 4.5),
            "4.5 bits are 4.5 / 16 of 16 bits: multiply by that. Divided by 4.5 a weight would have 3.6 bits.",
        ),
        Wrong(
            "4.5 of 8",
            _tree(four=9.0),
            "weights are given at 16 bits. At 4.5 bits they take 4.5 / 16 of that, not 4.5 / 8.",
        ),
        Wrong(
            "the machine asked last",
            _machine_last,
            "Without a GPU the other questions have no meaning: ask for it first.",
        ),
        Wrong(
            "the cache shrinks with the weights",
            _cache_shrinks,
            'Weights of fewer bits leave the cache at 16 bits. Only "awq, fp8 cache" halves it.',
        ),
        Wrong(
            "16 bits asked first",
            lambda weights, cache, room, gpu, fp8: (
                "bf16" if gpu and weights + cache <= room else first(weights, cache, room, gpu, fp8)
            ),
            "Where 16 bits fit nobody has to quantize, true. This tree is for who wants to: five answers, no bf16.",
        ),
        Wrong(
            "in capitals",
            lambda *given: first(*given).upper(),
            "The right choice in another spelling. The docstring writes the names in small letters.",
        ),
        Wrong(
            "the smallest first",
            _smallest,
            "You went to 4 bits although 8 fit on a machine that multiplies FP8. Take the mildest step that is enough.",
        ),
        Wrong(
            "4 bits and a little",
            _tree(four=4.25),
            "4.25 bits are those of groups of 64 or MXFP4. The docstring reckons with 4.5.",
        ),
        Wrong(
            "a little less cache",
            _tree(half=0.6),
            "An FP8 cache takes half of one of 16 bits: cache / 2.",
        ),
        Wrong(
            "offloaded without a GPU",
            lambda weights, cache, room, gpu, fp8: (
                "gguf, offloaded" if not gpu and weights > room else first(weights, cache, room, gpu, fp8)
            ),
            'Where there is no GPU nothing can be offloaded to one. The first question ends it: "gguf".',
        ),
        Wrong(
            "FP8 without FP8 units",
            _tree(fp8_always=True),
            "Without FP8 units FP8 weights are expanded on the way: ask for the units, too.",
        ),
        Wrong(
            "FP8 weights at 16 bits",
            _tree(eight=16.0),
            "8-bit weights take half of what 16-bit weights take.",
        ),
        Wrong(
            "the cache halved at once",
            _tree(cache_first=True),
            "You quantized the cache where the weights alone were enough. Change one thing at a time.",
        ),
        Wrong(
            "half a cache beside FP8 weights",
            lambda weights, cache, room, gpu, fp8: (
                "fp8" if gpu and fp8 and weights / 2 + cache / 2 <= room else first(weights, cache, room, gpu, fp8)
            ),
            "You halved the cache with the weights. FP8 weights leave the cache at 16 bits: it is a choice of its own.",
        ),
        Wrong(
            "an exact fit refused",
            _tree(strict=True),
            "What needs exactly the room fits: ≤, not <.",
        ),
        Wrong(
            "no look at the machine",
            _tree(gguf=True),
            "There is no GPU in the first case. AWQ's and FP8's kernels would have nothing to run on.",
        ),
        Wrong(
            "8 bits or nothing",
            _fp8_or_nothing,
            "Where 8 bits do not fit on a machine with FP8 units you ask no more. A no leads to the next question.",
        ),
        Wrong(
            "no half cache",
            _no_half_cache,
            "Before a layer leaves the GPU there is one more question: does it fit with half the cache?",
        ),
        Wrong(
            "no way out",
            _no_offload,
            "Where not even 4 bits and half a cache fit on the GPU, some layers have to go into main memory.",
        ),
        Wrong(
            "commas left out",
            lambda *given: first(*given).replace(",", ""),
            "The right choice in another spelling. Whoever reads it looks for the names in the docstring, with their "
            "commas.",
        ),
    ],
    hints=[
        "Five questions, one after the other, and a return for each. The later ones are only reached if the earlier "
        "say no.",
        "16 GiB of weights at 4.5 bits are 16 · 4.5 / 16 = 4.5 GiB. With 4 GiB of cache that is 8.5.",
        '    if not gpu:\n        return ____\n    if fp8 and weights / ____ + cache <= room:\n        return "fp8"\n'
        '    if weights * 4.5 / ____ + ____ <= room:\n        return "awq"\n    ...',
    ],
    passed="That is a candidate, not a decision: the gate has the last word.",
)
