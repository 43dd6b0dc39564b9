"""ch15.fold: a rotation of the residual stream, folded into the weights around it."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, relation


def fold(embed, gain, reads, writes, R):
    return embed @ R, (reads * gain) @ R, R.T @ writes


def _variant(e=lambda e, R: e @ R, r=lambda r, gain, R: (r * gain) @ R, w=lambda w, gain, R: R.T @ w):
    def wrong(embed, gain, reads, writes, R):
        return e(embed, R), r(reads, gain, R), w(writes, gain, R)

    return wrong


def block(embed, gain, reads, writes):
    """What a block adds to the stream: x + f(x), f(x) = relu(norm(x)·gain·readsᵀ)·writesᵀ; x are embed's rows."""
    n = embed / embed.square().mean(-1, keepdim=True).sqrt() * gain
    return embed + torch.relu(n @ reads.T) @ writes.T


def _gains_on_embed(embed, gain, reads, writes, R):
    return (embed * gain) @ R, reads @ R, R.T @ writes


def _same_function(run, embed, gain, reads, writes, R):
    turned = run(embed, gain, reads, writes, R)
    new, old = block(turned[0], torch.ones_like(gain), *turned[1:]), block(embed, gain, reads, writes)
    off = float((new - old @ R).abs().max())
    return off < 1e-3 or f"The rotated block's output is off by up to {off:.3g}: it must be the old one times R."


def _rotation(n, seed):
    from course_lib.calibrate.rotation import hadamard

    return hadamard(n, seed)


def _case(name, seed, tokens, n, inner, R=None, gains=True):
    g = torch.Generator().manual_seed(seed)
    embed, reads, writes = (torch.randn(*shape, generator=g) for shape in ((tokens, n), (inner, n), (n, inner)))
    gain = 0.5 + torch.rand(n, generator=g) if gains else torch.ones(n)
    return Case(name, embed, gain, reads, writes, _rotation(n, seed) if R is None else R)


_TURN = torch.tensor([[0.6, 0.8], [-0.8, 0.6]])

EXERCISE = Exercise(
    id="ch15.fold",
    title="Fold a rotation in",
    spec="fold(embed, gain, reads, writes, R): the three matrices of a rotated residual stream; the gains become 1.",
    kind="build",
    stub='''
def fold(embed, gain, reads, writes, R):
    """(embed, reads, writes) for a stream x·R in place of x, the norm's gains folded in (they are 1 afterwards).

    embed (tokens, n) fills the stream; reads (inner, n) sees norm(x)·gain; writes (n, inner) adds to the stream.
    R (n, n) is orthogonal. A linear computes x @ w.T.
    """
    ...
''',
    reference=fold,
    piece="fold_rotation",
    cases=[
        _case("two channels, no gains", 0, 1, 2, 1, _TURN, gains=False),
        _case("two channels", 1, 2, 2, 2, _TURN),
        _case("four channels", 2, 3, 4, 2),
        _case("as many inside", 3, 3, 8, 8),
        _case("more inside", 4, 2, 8, 12),
    ],
    properties=[
        relation("the function is kept", _same_function, "R·Rᵀ = I, and a norm without gains commutes with R."),
        equals_reference(atol=1e-5, rtol=1e-4, why="One product each in float32."),
    ],
    wrong=[
        Wrong(
            "embedding not rotated",
            _variant(e=lambda e, R: e),
            "The stream begins unrotated, and everybody who reads it expects x·R. Rotate the embedding as well.",
        ),
        Wrong(
            "embedding the other way",
            _variant(e=lambda e, R: e @ R.T),
            "The embedding's rows are x, and the stream is to hold x·R. You multiplied by Rᵀ.",
        ),
        Wrong(
            "reader not rotated",
            _variant(r=lambda r, gain, R: r * gain),
            "The reader now sees n·R. With w·R in place of w: n·R·(w·R)ᵀ = n·wᵀ.",
        ),
        Wrong(
            "reader the other way",
            _variant(r=lambda r, gain, R: (r * gain) @ R.T),
            "n·R·(w·Rᵀ)ᵀ = n·R·R·wᵀ turns twice. The reader needs w·R.",
        ),
        Wrong(
            "gains forgotten",
            _variant(r=lambda r, gain, R: r @ R),
            "The norm's gains become 1, so what they did must go into the reader: its columns times gain, before R.",
        ),
        Wrong(
            "gains after the rotation",
            _variant(r=lambda r, gain, R: (r @ R) * gain),
            "A gain belongs to an old channel. After R the channels are mixed: multiply first, rotate then.",
        ),
        Wrong(
            "gains on the embedding",
            _gains_on_embed,
            "The gains act behind the norm, on what one reader sees. The embedding is the stream itself.",
        ),
        Wrong(
            "divided by the gains",
            _variant(r=lambda r, gain, R: (r / gain) @ R),
            "The norm multiplied by its gains, so the reader's columns are multiplied, too.",
        ),
        Wrong(
            "writer not rotated",
            _variant(w=lambda w, gain, R: w),
            "What the block adds must be rotated as well, or it adds unrotated numbers to a rotated stream.",
        ),
        Wrong(
            "all three the other way",
            lambda embed, gain, reads, writes, R: fold(embed, gain, reads, writes, R.T),
            "That is right for a stream x·Rᵀ. Asked is x·R: each R the other way round.",
        ),
        Wrong(
            "writer from the right",
            _variant(w=lambda w, gain, R: w @ R),
            "writes is (n, inner): the stream's channels are its rows, so R works from the left, Rᵀ·w.",
        ),
        Wrong(
            "writer the other way",
            _variant(w=lambda w, gain, R: R @ w),
            "The writer gives h·wᵀ, and should give h·wᵀ·R = h·(Rᵀ·w)ᵀ. You multiplied by R from the left.",
        ),
        Wrong(
            "gains on the writer",
            _variant(r=lambda r, gain, R: r @ R, w=lambda w, gain, R: R.T @ (gain[:, None] * w)),
            "The gains stand in front of the reader, not behind the writer.",
        ),
        Wrong(
            "gains in the writer, too",
            _variant(w=lambda w, gain, R: R.T @ (w * gain[:, None])),
            "The gains act on what is read. The writer adds to the stream itself, which never had them.",
        ),
        Wrong(
            "gains on the rows",
            lambda embed, gain, reads, writes, R: (embed @ R, (reads * gain[:, None]) @ R, R.T @ writes),
            "Rows of reads are what it puts out. The gains meet its columns: reads * gain, which broadcasts along "
            "rows.",
        ),
    ],
    hints=[
        "Follow one number: where does the stream come from, who reads it, who writes to it? Each must speak x·R.",
        "R = [[0, 1], [1, 0]] swaps two channels. Then embed swaps its columns, reads its columns, writes its rows.",
        "    return embed @ ____, (reads * ____) @ ____, ____ @ writes",
    ],
    passed="After this no multiplication by R is left at run time. That is the free half of QuaRot.",
)
