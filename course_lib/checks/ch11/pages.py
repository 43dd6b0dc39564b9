"""ch11.pages: blocks that a batch holds when its sequences begin alike."""

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law


def pages(lengths, shared, block):
    common = shared // block
    return common + sum(-(-n // block) - common for n in lengths)


def _given(lengths, shared, block):
    common = -(-shared // block)
    return common + sum(n // block - common for n in lengths)


def _down(lengths, shared, block):
    common = shared // block
    return common + sum(n // block - common for n in lengths)


def _up(lengths, shared, block):
    common = -(-shared // block)
    return common + sum(-(-n // block) - common for n in lengths)


def _blocks_from_tokens(lengths, shared, block):
    common = shared // block
    return common + sum(-(-(n - common) // block) for n in lengths)


def _no_sharing(lengths, shared, block):
    return sum(-(-n // block) for n in lengths)


def _prefix_lost(lengths, shared, block):
    return sum(-(-n // block) - shared // block for n in lengths)


def _one_stream(lengths, shared, block):
    return -(-(shared + sum(n - shared for n in lengths)) // block)


def _longest(lengths, shared, block):
    common = shared // block
    return common + len(lengths) * (-(-max(lengths) // block) - common)


def _rest_alone(lengths, shared, block):
    return shared // block + sum(-(-(n - shared) // block) for n in lengths)


def _one_more(lengths, shared, block):
    common = shared // block
    return common + sum(n // block + 1 - common for n in lengths)


def _own_block(lengths, shared, block):
    common = shared // block
    return common + sum(max(1, -(-n // block) - common) for n in lengths)


def _enough(got, lengths, shared, block):
    need = shared + sum(n - shared for n in lengths)
    return (
        got * block >= need or f"{got} blocks hold {got * block} tokens; {need} different ones have to lie somewhere."
    )


EXERCISE = Exercise(
    id="ch11.pages",
    title="Pages",
    spec="pages(lengths, shared, block): blocks in use when the first `shared` tokens of all sequences are the same.",
    kind="repair",
    stub='''
def pages(lengths, shared, block):
    """Blocks of `block` tokens that sequences of these lengths hold; their first `shared` tokens are the same.

    Whole blocks of the common beginning exist once. The block in which the texts part is private.
    """
    common = -(-shared // block)
    return common + sum(n // block - common for n in lengths)
''',
    reference=pages,
    cases=[
        Case("one sequence, one token", [1], 0, 16),
        Case("exactly two blocks", [32], 0, 16),
        Case("two sequences, nothing shared", [17, 40], 0, 16),
        Case("a shared block, and more", [40, 40], 16, 16),
        Case("one ends where the other goes on", [32, 40], 32, 16),
        Case("they part inside a block", [40, 40], 20, 16),
        Case("they part just before a block ends", [40, 40], 31, 16),
        Case("a prefix shorter than a block", [40, 40, 40], 5, 16),
        Case("a long system prompt", [600, 700, 650], 512, 16),
        Case("blocks of one token", [5, 6], 3, 1),
    ],
    properties=[
        law("room for every token", _enough, "A token that is not in a block is lost."),
        equals_reference(why="Whole numbers."),
    ],
    wrong=[
        Wrong(
            "the rest of a sequence has no room",
            _down,
            "n // block drops the last, half-filled block. A block is taken whole: round up.",
        ),
        Wrong(
            "the block in which they part is shared",
            _up,
            "It holds tokens of the common beginning and others: no two sequences can share it. Round `shared` down.",
        ),
        Wrong(
            "nothing is shared",
            _no_sharing,
            "Every sequence got a copy of the common beginning. Its whole blocks exist once.",
        ),
        Wrong(
            "the common blocks are nowhere",
            _prefix_lost,
            "The common blocks were taken off everybody and counted for nobody. Add them once.",
        ),
        Wrong(
            "blocks taken from tokens",
            _blocks_from_tokens,
            "n counts tokens, common counts blocks: n - common mixes the two. Round n up to blocks first.",
        ),
        Wrong(
            "common tokens of a private block",
            _rest_alone,
            "Common tokens after the last whole common block lie in everybody's own block: they need room there, too.",
        ),
        Wrong(
            "a block of one's own for everybody",
            _own_block,
            "A sequence that ends with the common blocks has no block of its own.",
        ),
        Wrong(
            "one long sequence",
            _one_stream,
            "Tokens of two sequences never share a block. Round up for each sequence, then add.",
        ),
        Wrong(
            "everybody as long as the longest",
            _longest,
            "That is what an engine without pages reserves. Here each sequence takes what it has.",
        ),
        Wrong(
            "a block too many",
            _one_more,
            "n // block + 1 is one too many where n fills its blocks exactly: 32 tokens are two blocks of 16.",
        ),
        Wrong(
            "counted once too often",
            lambda lengths, shared, block: _no_sharing(lengths, shared, block) - shared // block,
            "With three sequences the common blocks are there once, not twice: take them off len(lengths) − 1 times.",
        ),
        Wrong(
            "private tokens counted from their own start",
            lambda lengths, shared, block: -(-shared // block) + _rest_alone(lengths, shared, block) - shared // block,
            "Blocks begin at multiples of the block, not where the texts part: count whole sequences, less the common"
            " blocks.",
        ),
    ],
    hints=[
        "There are two faults, and both are a rounding. Which way does a half-filled block go at the end of a "
        "sequence, and which way where the texts part?",
        "Two sequences of 40, the first 20 alike, blocks of 16: one whole block is common; each needs ⌈40/16⌉ = 3. "
        "So 1 + 2 + 2 = 5.",
        "    common = shared ____ block\n    return common + sum(____ - common for n in lengths)",
    ],
    passed="An engine that rounds the prefix up writes one user's words into another's block.",
)
