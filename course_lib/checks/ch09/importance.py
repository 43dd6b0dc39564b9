"""ch09.importance: the importance matrix: how much an error in a column is heard."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law, relation
from course_lib.checks.inputs import float32, normal


def importance(chunks):
    total = sum(x.square().sum(dim=0) for x in chunks)
    return total / sum(len(x) for x in chunks)


def _mean_of_means(chunks):
    return sum(x.square().mean(dim=0) for x in chunks) / len(chunks)


def _joined(of):
    return lambda chunks: of(torch.cat(chunks))


def _not_negative(got, chunks):
    return bool((got >= 0).all()) or "A mean of squares cannot be negative."


def _chunks_do_not_matter(run, chunks):
    whole, parts = run([torch.cat(chunks)]), run([x[k : k + 1] for x in chunks for k in range(len(x))])
    same = torch.allclose(whole, parts, rtol=1e-4, atol=1e-6)
    return same or "The same tokens in one chunk, or each in a chunk of its own, give different results."


EXERCISE = Exercise(
    id="ch09.importance",
    title="Which columns count?",
    spec="importance(chunks): the mean of x² of each column over all tokens of all chunks (tokens, in), shape (in,).",
    kind="build",
    stub='''
def importance(chunks):
    """Mean square of each column, (in,), over all tokens of a list of inputs (tokens, in) of different lengths."""
    ...
''',
    reference=importance,
    piece="importance",
    cases=[
        Case("one token", [float32([1.0, -3.0])]),
        Case("one chunk", [float32([1.0, -3.0], [2.0, 1.0])]),
        Case("a long one and a short one", [float32([1.0, 0.0], [1.0, 2.0], [1.0, 0.0]), float32([5.0, 4.0])]),
        Case("signs that cancel", [float32([4.0, 1.0], [-4.0, 1.0])]),
        Case("three chunks", [normal(0, 2, 3), normal(1, 5, 3), normal(2, 1, 3)]),
        Case("a silent column", [float32([0.0, 2.0], [0.0, -1.0])]),
        Case("many tokens", [normal(3, 40, 6), 3 * normal(4, 10, 6)]),
    ],
    properties=[
        law("not negative", _not_negative, "It is a mean of squares."),
        relation("chunks do not matter", _chunks_do_not_matter, "A mean over tokens does not ask how they were read."),
        equals_reference(
            rtol=1e-5,
            atol=1e-7,
            why="All squares of a column, over the number of tokens; float32 sums may end differently.",
        ),
    ],
    wrong=[
        Wrong(
            "a mean of means",
            _mean_of_means,
            "You average the chunks' means: a short chunk counts as much as a long one. Sum squares and tokens first.",
        ),
        Wrong(
            "divided by the number of chunks",
            lambda chunks: sum(x.square().sum(0) for x in chunks) / len(chunks),
            "You divide by the number of chunks. A mean over tokens is divided by the number of tokens.",
        ),
        Wrong(
            "mean |x|",
            _joined(lambda x: x.abs().mean(0)),
            "That is AWQ's salience. An error in w moves the squared output error by x², so the *square* is averaged.",
        ),
        Wrong(
            "square of the mean",
            _joined(lambda x: x.mean(0).square()),
            "Signs cancel in a mean. Square first, then average.",
        ),
        Wrong(
            "root mean square",
            _joined(lambda x: x.square().mean(0).sqrt()),
            "No root: the importance multiplies squared errors.",
        ),
        Wrong(
            "the sum",
            _joined(lambda x: x.square().sum(0)),
            "That is the sum, which the GGUF form of the file keeps beside the count. Asked is the mean.",
        ),
        Wrong(
            "tokens, not columns",
            _joined(lambda x: x.square().mean(1)),
            "You averaged along the row, one number a token. One a column is asked: dim=0.",
        ),
        Wrong(
            "the loudest moment",
            _joined(lambda x: x.square().amax(0)),
            "One loud token decides in yours. The mean over all tokens is asked.",
        ),
        Wrong(
            "variance",
            _joined(lambda x: x.var(0, correction=0)),
            "You took off the mean first. A column that is always +5 is loud, too.",
        ),
        Wrong(
            "variance of a sample",
            _joined(lambda x: x.var(0)),
            "`var` takes off the mean first, and divides by n − 1: nan for one token. Square, then average.",
        ),
        Wrong(
            "the last chunk",
            lambda chunks: chunks[-1].square().mean(0),
            "Only the last chunk is left in yours. Add them up.",
        ),
        Wrong(
            "one number for all columns",
            lambda chunks: torch.cat(chunks).square().mean(),
            "That is one mean of everything. Each column has one of its own: mean(0) of all tokens.",
        ),
    ],
    hints=[
        "Two running totals: the sum of x² of each column, and the number of tokens. Divide once, at the end.",
        "Chunks [[1], [3]] and [[2]]: squares 1 + 9 + 4 = 14 over 3 tokens: 4.67. (The mean of the two means, 5 and "
        "4, would be 4.5.)",
        "    total = sum(x.____().sum(dim=____) for x in chunks)\n    return total / sum(____ for x in chunks)",
    ],
    passed="H's diagonal again, but for a factor of 2: GPTQ's curvature without what columns have in common.",
)
