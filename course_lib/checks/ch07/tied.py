"""ch07.tied: the scales that may pass from o to v where several query heads share a value head."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law, relation
from course_lib.checks.inputs import float32


def tied(s, heads, kv_heads):
    per_head = s.reshape(kv_heads, heads // kv_heads, -1)  # (kv, heads that share it, head_dim)
    shared = per_head.mean(dim=1)
    return shared.flatten(), shared[:, None].expand(per_head.shape).flatten()


def _grouped(s, heads, kv_heads, choose):
    per_head = s.reshape(kv_heads, heads // kv_heads, -1)
    shared = choose(per_head)
    return shared.flatten(), shared[:, None].expand(per_head.shape).flatten()


def _interleaved(s, heads, kv_heads):
    per_head = s.reshape(heads // kv_heads, kv_heads, -1)
    shared = per_head.mean(dim=0)
    return shared.flatten(), shared[None].expand(per_head.shape).flatten()


def _one_a_head(s, heads, kv_heads):
    per_head = s.reshape(kv_heads, heads // kv_heads, -1)
    shared = per_head.mean(dim=(1, 2), keepdim=True).expand(per_head.shape)
    return shared[:, 0].flatten(), shared.flatten()


def _o_keeps_its_own(s, heads, kv_heads):
    return s.reshape(kv_heads, heads // kv_heads, -1).mean(1).flatten(), s.clone()


def _tiled(s, heads, kv_heads):
    shared = s.reshape(kv_heads, heads // kv_heads, -1).mean(1)
    return shared.flatten(), shared.repeat(heads // kv_heads, 1).flatten()


def _each_channel(s, heads, kv_heads):
    shared = s.reshape(kv_heads, heads // kv_heads, -1).mean(1).flatten()
    return shared, shared.repeat_interleave(heads // kv_heads)


def _same_function(run, s, heads, kv_heads):
    """What v gives, divided by s_v, goes to every head that shares it, and there meets columns times s_o."""
    s_v, s_o = run(s, heads, kv_heads)
    head_dim = len(s) // heads
    if s_v.shape != (kv_heads * head_dim,) or s_o.shape != s.shape:
        return f"s_v needs {kv_heads * head_dim} numbers and s_o {len(s)}; yours have {len(s_v)} and {len(s_o)}."
    arriving = (1 / s_v).reshape(kv_heads, 1, head_dim).expand(kv_heads, heads // kv_heads, head_dim).flatten()
    off = ((arriving * s_o - 1).abs() > 1e-4).nonzero().flatten()
    if len(off) == 0:
        return True
    j = off[0].item()
    by = 1 / arriving[j].item()
    return f"Channel {j} of head {j // head_dim} arrives divided by {by:.4g}, o multiplies by {s_o[j]:.4g}."


def _in_the_middle(got, s, heads, kv_heads):
    per_head = s.reshape(kv_heads, heads // kv_heads, -1)
    mine = got[0].reshape(kv_heads, -1)
    off = ((mine - per_head.mean(1)).abs() > 1e-5 * per_head.mean(1)).nonzero()
    if len(off) == 0:
        return True
    head, channel = off[0].tolist()
    asked = ", ".join(f"{v:.4g}" for v in per_head[head, :, channel].tolist())
    return f"Value head {head}, channel {channel}: asked for {asked}; yours is {mine[head, channel]:.4g}."


EXERCISE = Exercise(
    id="ch07.tied",
    title="Heads that share",
    spec="tied(s, heads, kv_heads): (s_v, s_o), where query heads that share a value head share the mean of their s.",
    kind="repair",
    stub='''
def tied(s, heads, kv_heads):
    """(s_v (kv_heads * head_dim,), s_o (heads * head_dim,)) from s, what the channels of o ask for."""
    per_head = s.reshape(heads // kv_heads, kv_heads, -1)
    shared = per_head.mean(dim=0)
    return shared.flatten(), s
''',
    reference=tied,
    cases=[
        Case("two heads share one, one channel each", float32(2.0, 3.0), 2, 1),
        Case("two heads share one, two channels each", float32(1.0, 4.0, 2.0, 3.0), 2, 1),
        Case("four heads share two", float32(1.0, 2.0, 3.0, 4.0), 4, 2),
        Case("four heads share two, two channels each", float32(1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0), 4, 2),
        Case("nobody shares", float32(1.0, 2.0, 3.0, 0.5), 2, 2),
        Case("all share one", torch.arange(1.0, 13.0).flip(0), 4, 1),
    ],
    properties=[
        relation("the function is the same", _same_function, "What v divides by, o has to multiply by, in every head."),
        law("the mean of those that share", _in_the_middle, "One factor for all, between what they ask for."),
        equals_reference(ulps=4, why="Only means and copies."),
    ],
    wrong=[
        Wrong(
            "o keeps its own",
            _o_keeps_its_own,
            "v divides once for all heads that share it. If they multiply by different numbers, the output changes.",
        ),
        Wrong(
            "the wrong heads grouped",
            _interleaved,
            "Neighbours share: of 4 heads and 2 value heads, query heads 0, 1 read value head 0, and 2, 3 head 1.",
        ),
        Wrong(
            "copies laid out by value head",
            _tiled,
            "The shared scales were repeated as one long strip, 0 1 0 1. The order of o is 0 0 1 1: expand each one.",
        ),
        Wrong(
            "the smallest",
            lambda s, h, k: _grouped(s, h, k, lambda t: t.amin(1)),
            "The function is kept, but the louder heads get the least protection of all. Take the mean.",
        ),
        Wrong(
            "the largest",
            lambda s, h, k: _grouped(s, h, k, lambda t: t.amax(1)),
            "It keeps the function, and others do so. Asked is the mean, which lets no single head decide.",
        ),
        Wrong(
            "the first head decides",
            lambda s, h, k: _grouped(s, h, k, lambda t: t[:, 0]),
            "Only the first of the heads that share was asked. Take the mean of all of them.",
        ),
        Wrong(
            "o divided, too",
            lambda s, h, k: (lambda v, o: (v, 1 / o))(*tied(s, h, k)),
            "v is divided by s_v, so o has to *multiply*: s_o holds the same numbers, once for each head.",
        ),
        Wrong(
            "the sum",
            lambda s, h, k: _grouped(s, h, k, lambda t: t.sum(1)),
            "You added what the heads ask for. Take the mean.",
        ),
        Wrong(
            "one number a head",
            _one_a_head,
            "Channel c of one head meets channel c of the other. Take the mean over heads only, not over channels.",
        ),
        Wrong(
            "channels repeated, not heads",
            _each_channel,
            "repeat_interleave on the flat scales repeats single channels. o needs whole heads, one after another.",
        ),
    ],
    hints=[
        "Draw 4 query heads and 2 value heads. Which query heads read value head 0? They must get one common factor a "
        "channel.",
        "s = (1, 2, 3, 4), 4 heads of one channel, 2 value heads: heads 0, 1 share, so do 2, 3. s_v = (1.5, 3.5), "
        "s_o = (1.5, 1.5, 3.5, 3.5).",
        "    per_head = s.reshape(____, ____, -1)\n    shared = per_head.mean(dim=____)\n"
        "    return shared.flatten(), shared[:, None].expand(____).flatten()",
    ],
    passed="Forget this under grouped queries, and the model changes before a single weight was rounded.",
)
