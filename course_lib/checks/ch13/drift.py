"""ch13.drift: what two models' logits say about each other: mean KL, its 99 % point, and the flips."""

import math

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law, relation


def drift(base, other, share):
    p, q = base.double().log_softmax(-1), other.double().log_softmax(-1)
    kl = (p.exp() * (p - q)).sum(-1)
    flips = (base.argmax(-1) != other.argmax(-1)).double().mean()
    return float(kl.mean()), float(kl.sort().values[math.ceil(share * len(kl)) - 1]), float(flips)


def _wrong(kl=None, top=None, flips=None):
    def answer(base, other, share):
        p, q = base.double().log_softmax(-1), other.double().log_softmax(-1)
        each = (kl or (lambda p, q: (p.exp() * (p - q)).sum(-1)))(p, q)
        changed = (base.argmax(-1) != other.argmax(-1)).double().mean()
        at = (top or (lambda k, share: k.sort().values[math.ceil(share * len(k)) - 1]))(each, share)
        return float(each.mean()), float(at), float((flips or (lambda f: f))(changed))

    return answer


def _raw(base, other, share):
    p, q = base.double(), other.double()
    kl = (p.softmax(-1) * (p - q)).sum(-1)
    flips = (base.argmax(-1) != other.argmax(-1)).double().mean()
    return float(kl.mean()), float(kl.sort().values[math.ceil(share * len(kl)) - 1]), float(flips)


def _log_of_softmax(base, other, share):
    p, q = base.softmax(-1), other.softmax(-1)
    kl = (p * (p.log() - q.log())).sum(-1)
    return float(kl.mean()), float(kl.sort().values[math.ceil(share * len(kl)) - 1]), drift(base, other, share)[2]


def _count(base, other, share):
    mean, high, flips = drift(base, other, share)
    return mean, high, flips * len(base)


def _perplexity_like(base, other, share):
    mean, high, flips = drift(base, other, share)
    return math.exp(mean), high, flips


def _over_tokens(base, other, share):
    p, q = base.double().log_softmax(0), other.double().log_softmax(0)
    kl = (p.exp() * (p - q)).sum(-1)
    return float(kl.mean()), float(kl.sort().values[math.ceil(share * len(kl)) - 1]), drift(base, other, share)[2]


def _logits(tokens, vocabulary, noise, seed):
    g = torch.Generator().manual_seed(seed)
    base = 3 * torch.randn(tokens, vocabulary, generator=g)
    return base, base + noise * torch.randn(tokens, vocabulary, generator=g)


def _one_of_four():
    base = torch.tensor([[1.0, 0.0]] * 4)
    other = base.clone()
    other[1, 1] += 3.0
    other[2, 0] += 0.5
    return base, other


def _shift(run, base, other, share):
    moved = run(base + 5.0, other - 2.0, share)
    same = all(abs(a - b) < 1e-6 for a, b in zip(run(base, other, share), moved, strict=True))
    return same or "Add 5 to all logits of a token: its probabilities stay. Your figures do not."


EXERCISE = Exercise(
    id="ch13.drift",
    title="What changed, token by token",
    spec="drift(base, other, share): (mean KL, the KL that this share of the tokens does not exceed, share of flips).",
    kind="build",
    stub='''
def drift(base, other, share):
    """Mean of KL(base || other) in nats, the KL that `share` of the tokens does not exceed, share of flips: floats.

    base, other (tokens, vocabulary): logits. The second figure is the least KL of the list that at least `share` of
    the tokens (such as 0.99) does not exceed. A token flips where the likeliest choice is another one.
    """
    ...
''',
    reference=drift,
    piece="drift",
    cases=[
        Case("all logits moved alike", torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 3.0]]), 0.5),
        Case("two choices, one token", torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.5]]), 0.5),
        Case("one of four tokens flips", *_one_of_four(), 0.75),
        Case("four fifths of four tokens", *_one_of_four(), 0.8),
        Case("a little noise", *_logits(150, 6, 0.3, 0), 0.99),
        Case("much noise", *_logits(200, 5, 2.0, 1), 0.99),
        Case("a choice that is next to impossible", torch.tensor([[200.0, 80.0]]), torch.tensor([[100.0, -20.0]]), 0.5),
        Case("nothing changed", *_logits(20, 4, 0.0, 2), 0.99),
    ],
    properties=[
        law("no KL below zero", lambda got, *_: got[0] > -1e-9 or f"A mean KL of {got[0]:.4g} is below zero.",
            "KL is never negative, whatever the two models say."),
        relation("only probabilities count", _shift, "Logits of a token may all be moved by the same number."),
        equals_reference(atol=1e-5, why="float32 logits may be used."),
    ],
    wrong=[
        Wrong("the other way round", _wrong(kl=lambda p, q: (q.exp() * (q - p)).sum(-1)),
              "That is KL(other || base). The base's probabilities weigh the differences: p · (ln p − ln q)."),
        Wrong("logits instead of ln p", _raw,
              "p − q must be a difference of log-probabilities. Logits become those by log_softmax."),
        Wrong("bits, not nats", _wrong(kl=lambda p, q: (p.exp() * (p - q)).sum(-1) / 0.6931471805599453),
              "That is in bits. Nats come from the natural logarithm, as log_softmax gives it."),
        Wrong("cross-entropy", _wrong(kl=lambda p, q: -(p.exp() * q).sum(-1)),
              "−Σ p·ln q is the cross-entropy: the base's own uncertainty is still in it. Take ln p − ln q."),
        Wrong("absolute differences", _wrong(kl=lambda p, q: (p.exp() * (p - q)).abs().sum(-1)),
              "Choices that got likelier count with minus. Only the sum over a token's choices is never negative."),
        Wrong("mean over choices", _wrong(kl=lambda p, q: (p.exp() * (p - q)).mean(-1)),
              "A token's KL is the sum over its choices, not their mean. Only tokens are averaged."),
        Wrong("squared distance", _wrong(kl=lambda p, q: (p.exp() - q.exp()).square().sum(-1)),
              "That is a squared distance of probabilities. KL weighs ln p − ln q by p."),
        Wrong("the largest", _wrong(top=lambda k, share: k.max()),
              "That is the largest KL of all. Some tokens, 1 − share of them, may lie above the figure that is asked."),
        Wrong("the lower end", _wrong(top=lambda k, share: k.sort().values[math.ceil((1 - share) * len(k)) - 1]),
              "That is the harmless end, counted from above. Sort upwards and count `share` of the tokens from below."),
        Wrong("a value in between", _wrong(top=torch.quantile),
              "torch.quantile mixes two neighbours of the list. Asked is one value of the list: sort, then count."),
        Wrong("the nearest place", _wrong(top=lambda k, share: torch.quantile(k, share, interpolation="nearest")),
              "torch.quantile counts gaps, not tokens: so its place is often one too early. Sort, then count."),
        Wrong("one place too far", _wrong(top=lambda k, share: k.sort().values[min(int(share * len(k)), len(k) - 1)]),
              "Counted from 1 the place is share · tokens, rounded up. Python counts from 0: one less."),
        Wrong("softmax over the tokens", _over_tokens,
              "Your probabilities add up to 1 over the tokens. They do so over a token's choices: log_softmax(-1)."),
        Wrong("e to the power of the mean", _perplexity_like,
              "A perplexity is e to the power of a mean. KL is that mean itself: 0 where nothing changed."),
        Wrong("the median", _wrong(top=lambda k, share: k.median()), "That is the 50 % point, whatever `share` is."),
        Wrong("agreement", _wrong(flips=lambda f: 1 - f),
              "You counted the tokens that agree. Flips are the others."),
        Wrong("a count of flips", _count, "You count the flips. Asked is their share: divide by the tokens."),
        Wrong("percent", _wrong(flips=lambda f: 100 * f), "The flips are a share from 0 to 1, not percent."),
        Wrong(
            "the logarithm of softmax",
            _log_of_softmax,
            "A small probability becomes 0 in float32, its logarithm −inf, and 0 · inf is NaN. Take log_softmax(-1).",
        ),
    ],
    hints=[
        "log_softmax of both along the last axis. KL of a token is the sum of p · (ln p − ln q) over the choices.",
        "p = (½, ½), q = (¼, ¾): ½·ln 2 + ½·ln ⅔ = 0.144. Of 150 sorted values the 149th is the first that 99 % do not "
        "exceed: 0.99 · 150 = 148.5, rounded up.",
        "    p, q = base.log_softmax(-1), other.log_softmax(-1)\n    kl = (____ * (p - q)).sum(-1)\n"
        "    place = math.ceil(share * len(kl))  # counted from 1\n"
        "    return float(kl.mean()), float(kl.sort().values[____]), float((____ != ____).double().mean())",
    ],
    passed="The mean says how far the model moved, the 99 % point how bad it gets, flips what a reader notices.",
)  # fmt: skip
