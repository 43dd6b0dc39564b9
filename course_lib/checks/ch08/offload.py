"""ch08.offload: how many of a model's layers fit on a GPU, as llama.cpp counts them."""

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law


def offload(layers, kv, output, memory, reserve):
    room, ngl = memory - reserve, 0
    for size in [output, *(layer + kv for layer in reversed(layers))]:
        if size > room:
            break
        room -= size
        ngl += 1
    return ngl


def _filled(slots=lambda layers, kv, output: [output, *(n + kv for n in reversed(layers))], stop=True, reserve_of=1,
            strict=False):  # fmt: skip
    """The reference with one thing changed."""

    def answer(layers, kv, output, memory, reserve):
        room, ngl = memory - reserve_of * reserve, 0
        for size in slots(layers, kv, output):
            if size > room or (strict and size == room):
                if stop:
                    break
                continue
            room -= size
            ngl += 1
        return ngl

    return answer


def _average(layers, kv, output, memory, reserve):
    room = memory - reserve - output
    if room < 0:
        return 0
    return 1 + min(len(layers), int(room / (sum(layers) / len(layers) + kv)))


def _looked_late(layers, kv, output, memory, reserve):
    room, ngl = memory - reserve - output, 1
    if room < 0:
        return 0
    for layer in reversed(layers):
        if room <= 0:
            break
        room -= layer + kv
        ngl += 1
    return ngl


def _layers_only(layers, kv, output, memory, reserve):
    return max(0, offload(layers, kv, output, memory, reserve) - 1)


def _whole_cache(layers, kv, output, memory, reserve):
    return _filled(lambda w, c, o: [o, *reversed(w)])(layers, 0, output, memory - kv * len(layers), reserve)


def _one_cache(layers, kv, output, memory, reserve):
    return offload(layers, 0, output, memory - kv, reserve)


def _slots(layers, kv, output):
    return [output, *(n + kv for n in reversed(layers))]


def _fits(got, layers, kv, output, memory, reserve):
    used = sum(_slots(layers, kv, output)[:got]) + reserve
    return used <= memory or f"-ngl {got} takes {used} with the reserve; the card has {memory}."


def _no_more(got, layers, kv, output, memory, reserve):
    slots = _slots(layers, kv, output)
    if not 0 <= got <= len(slots):
        return f"There are {len(layers)} layers and the output layer: -ngl is from 0 to {len(slots)}, yours is {got}."
    used = sum(slots[: got + 1]) + reserve
    return got == len(slots) or used > memory or f"One more would fit: -ngl {got + 1} takes {used} of {memory}."


EXERCISE = Exercise(
    id="ch08.offload",
    title="Plan the offload",
    spec="offload(layers, kv, output, memory, reserve): the largest -ngl that fits, the output layer first.",
    kind="design",
    stub='''
def offload(layers, kv, output, memory, reserve):
    """The largest -ngl that fits: the output layer first, then layers from the last one down, each with kv bytes more.

    layers: bytes of each, from the first to the last; memory: bytes of the card, of which `reserve` are not for use.
    Stop at the first that does not fit: 0 if that is the output layer.
    """
    ...
''',
    reference=offload,
    cases=[
        Case("all of it", [2, 2], 1, 3, 20, 1),
        Case("exactly all of it", [2, 2], 1, 3, 10, 1),
        Case("all but one byte", [2, 2], 1, 3, 9, 1),
        Case("the output layer only", [5, 5, 5], 1, 3, 6, 1),
        Case("not even that", [1, 1, 1], 0, 8, 6, 1),
        Case("the last layer is the large one", [1, 1, 1, 9], 0, 2, 10, 1),
        Case("the first layer is the large one", [9, 1, 1, 1], 0, 2, 10, 1),
        Case("a large one in the middle", [1, 9, 1, 1], 0, 1, 8, 1),
        Case("a long context", [2, 2, 2, 2], 6, 1, 21, 2),
        Case("a cache larger than a layer", [2, 2, 2, 2], 3, 1, 11, 0),
        Case("no cache, no output layer: the simple budget", [5.0 / 32] * 32, 0, 0, 4.0, 0.5),
    ],
    properties=[
        law("it fits", _fits, "Weights, cache and reserve share the card."),
        law("no more would fit", _no_more, "Asked is the largest."),
        equals_reference(why="There is one largest number."),
    ],
    wrong=[
        Wrong(
            "the cache forgotten",
            _filled(lambda layers, kv, output: [output, *reversed(layers)]),
            "A layer brings its keys and values along: each takes kv bytes more.",
        ),
        Wrong(
            "the cache of one layer only",
            _one_cache,
            "You took kv bytes off once. Each layer on the card keeps a cache of its own: kv bytes more for each.",
        ),
        Wrong(
            "the output layer forgotten",
            _filled(lambda layers, kv, output: [0, *(n + kv for n in reversed(layers))]),
            "The output layer is the first to move, and one of the largest. Count its bytes.",
        ),
        Wrong(
            "layers counted, not slots",
            _layers_only,
            "-ngl counts the output layer, too: all of a model with 32 layers is -ngl 33.",
        ),
        Wrong(
            "no slot for the output layer",
            _filled(lambda layers, kv, output: [n + kv for n in reversed(layers)]),
            "Only layers are slots in yours. The output layer is one as well, the first: count it, and its bytes.",
        ),
        Wrong(
            "a cache for the output layer",
            _filled(lambda layers, kv, output: [output + kv, *(n + kv for n in reversed(layers))]),
            "The output layer looks at no earlier token: it has no cache. kv bytes come with the layers only.",
        ),
        Wrong(
            "from the first layer on",
            _filled(lambda layers, kv, output: [output, *(n + kv for n in layers)]),
            "llama.cpp keeps the first layers in RAM and takes the last ones. Go through layers in reverse.",
        ),
        Wrong(
            "an average layer",
            _average,
            "You divided by the average. Layers differ: add up those that really move.",
        ),
        Wrong(
            "large ones skipped",
            _filled(stop=False),
            "You passed over a layer that did not fit. What moves is one run of layers, without holes: stop there.",
        ),
        Wrong(
            "large layers skipped",
            lambda layers, kv, output, memory, reserve: (
                _filled(stop=False)(layers, kv, output, memory, reserve) if output <= memory - reserve else 0
            ),
            "You passed over a layer that did not fit. Stop there: what moves is one run of layers, without holes.",
        ),
        Wrong(
            "taken first, looked at then",
            _looked_late,
            "You take a layer and then see whether there was room, so the last one may be too large. Look first.",
        ),
        Wrong(
            "an average layer, and no end",
            lambda layers, kv, output, memory, reserve: (
                1 + int((memory - reserve - output) / (sum(layers) / len(layers) + kv))
            ),
            "You divided by the average. Layers differ, and their number is limited: add up those that move.",
        ),
        Wrong(
            "the reserve forgotten",
            _filled(reserve_of=0),
            "The reserve is for the compute buffer and the driver: take it off before anything else.",
        ),
        Wrong(
            "the output layer last",
            _filled(lambda layers, kv, output: [*(n + kv for n in reversed(layers)), output]),
            "That was llama.cpp's order until December 2025. Now the output layer moves first.",
        ),
        Wrong(
            "a full card left alone",
            _filled(strict=True),
            "What is exactly as large as the room that is left does fit.",
        ),
        Wrong(
            "the whole cache on the card",
            _whole_cache,
            "You set aside the cache of all layers. A layer that stays in RAM keeps its cache there.",
        ),
    ],
    hints=[
        "Make a list of slots in the order in which they move. Take them while there is room.",
        "Layers 2, 2, cache 1 each, output 3, a card of 9 with 1 reserved: 8 − 3 = 5, 5 − 3 = 2, and 3 is more than 2. "
        "Two slots moved: -ngl 2.",
        "    room, ngl = ____, 0\n    for size in [____, *(____ for layer in reversed(layers))]:\n"
        "        if size > room:\n            ____\n        room -= size\n        ngl += 1\n    return ngl",
    ],
    passed="The last case is the simple budget: 22 layers, and an output layer that took no place there.",
)
