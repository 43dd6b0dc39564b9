"""ch08.offsets: where each tensor's data begin."""

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law


def offsets(sizes, alignment):
    found, at = [], 0
    for size in sizes:
        found.append(at)
        at += -(-size // alignment) * alignment
    return found


def _cumulated(sizes, alignment):
    return [sum(sizes[:k]) for k in range(len(sizes))]


def _every_second(sizes, alignment):
    found, at = [], 0
    for size in sizes:
        found.append(at)
        at += max(size // alignment, 1) * alignment
    return found


def _ends(sizes, alignment):
    return [at + size for at, size in zip(offsets(sizes, alignment), sizes, strict=True)]


def _only_32(sizes, alignment):
    return offsets(sizes, 32)


def _rounded_sums(sizes, alignment):
    return [round(at / alignment) * alignment for at in _cumulated(sizes, alignment)]


def _first_padded(sizes, alignment):
    return [at + alignment for at in offsets(sizes, alignment)]


def _whole_sum_up(sizes, alignment):
    return [-(-at // alignment) * alignment for at in _cumulated(sizes, alignment)]


def _sizes_down(sizes, alignment):
    return offsets([size // alignment * alignment for size in sizes], alignment)


def _sizes_near(sizes, alignment):
    return offsets([round(size / alignment) * alignment for size in sizes], alignment)


def _aligned(got, sizes, alignment):
    for k, at in enumerate(got):
        if at % alignment:
            return f"Tensor {k} begins at {at}, which is no multiple of {alignment}."
    return True


def _apart(got, sizes, alignment):
    for k in range(1, len(got)):
        end = got[k - 1] + sizes[k - 1]
        if got[k] < end:
            return (
                f"Tensor {k - 1} has {sizes[k - 1]} bytes and ends at {end}, tensor {k} begins at {got[k]}: inside it."
            )
    return True


def _no_gap(got, sizes, alignment):
    if got and got[0] != 0:
        return f"The first tensor begins at 0, yours at {got[0]}."
    for k in range(1, len(got)):
        gap = got[k] - got[k - 1] - sizes[k - 1]
        if gap >= alignment:
            return f"Between tensors {k - 1} and {k} lie {gap} bytes of padding; {gap % alignment} would do."
    return True


EXERCISE = Exercise(
    id="ch08.offsets",
    title="Lay out the data",
    spec="offsets(sizes, alignment): where each tensor begins: one behind the other, each at a multiple of alignment.",
    kind="repair",
    stub='''
def offsets(sizes, alignment):
    """Where each tensor begins in the data, in bytes: one behind the other, each at a multiple of the alignment."""
    found, at = [], 0
    for size in sizes:
        found.append(at)
        at += size + alignment - size % alignment
    return found
''',
    reference=offsets,
    piece="offsets",
    cases=[
        Case("one tensor", [7], 32),
        Case("two, the first a multiple", [64, 5], 32),
        Case("two, the first not", [5, 64], 32),
        Case("three small ones", [4, 4, 4], 32),
        Case("small padding", [10, 3, 8, 1], 8),
        Case("almost a multiple", [33, 31, 32, 95], 32),
        Case("wide alignment", [100, 4096, 1], 4096),
    ],
    properties=[
        law("aligned", _aligned, "A reader refuses anything else."),
        law("none inside another", _apart, "A tensor ends before the next one begins."),
        law("no needless padding", _no_gap, "Less than one alignment between two tensors."),
        equals_reference(why="These are exact numbers."),
    ],
    wrong=[
        Wrong(
            "no padding",
            _cumulated,
            "The tensors touch each other. Round every size up to a multiple of the alignment.",
        ),
        Wrong(
            "rounded down",
            _every_second,
            "Half a block at the end is rounded away, and the next tensor begins inside this one. Round up.",
        ),
        Wrong(
            "the ends",
            _ends,
            "These are the places where the tensors end. Asked is where they begin.",
        ),
        Wrong(
            "always 32",
            _only_32,
            "32 is the default only; the file may say something else in general.alignment.",
        ),
        Wrong(
            "rounded to the nearest multiple",
            _rounded_sums,
            "The nearest multiple may lie before the end of a tensor. Round up, never down.",
        ),
        Wrong(
            "padding before the first",
            _first_padded,
            "The first tensor begins at 0: the padding before the data is not counted.",
        ),
        Wrong(
            "sums rounded, not sizes",
            _whole_sum_up,
            "You rounded the sum of the bare sizes. But the paddings before have moved everything: add padded sizes.",
        ),
        Wrong(
            "where the next one begins",
            lambda sizes, alignment: [*offsets([*sizes, 0], alignment)[1:]],
            "You note the place after you have moved on. It belongs to the next tensor: append first, then add.",
        ),
        Wrong(
            "every size rounded down",
            _sizes_down,
            "`//` drops what does not fill a whole alignment, and the next tensor begins inside this one. Round up.",
        ),
        Wrong(
            "every size rounded to the nearest",
            _sizes_near,
            "`round` goes down from 5 / 32, and the next tensor begins inside this one. Round up: -(-size // "
            "alignment).",
        ),
    ],
    hints=[
        "What does the line add when size is 64 and the alignment 32?",
        "32 - 5 % 32 = 27 is the padding after 5 bytes. After 64 bytes it must be 0, and 32 - 64 % 32 is 32.",
        "        at += size + ____ % alignment",
    ],
    passed="-size % alignment is the padding: 27 after 5 bytes, 0 after 64.",
)
