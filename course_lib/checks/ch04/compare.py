"""ch04.compare: KL, top-1 and bits per byte, from the logits of two models on the same tokens."""

import math

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law, relation


def compare(base, other, targets, n_bytes):
    p = base.log_softmax(dim=-1)  # (tokens, vocabulary), log-probabilities
    q = other.log_softmax(dim=-1)
    kl = (p.exp() * (p - q)).sum(dim=-1).mean()
    top1 = (base.argmax(dim=-1) == other.argmax(dim=-1)).float().mean()
    nats = -q[torch.arange(len(targets)), targets].sum()
    return {"kl": kl.item(), "top1": top1.item(), "bpb": nats.item() / math.log(2) / n_bytes}


def _variant(kl=None, top1=None, bpb=None):
    """The reference with one entry computed another way from (p, q) log-probabilities, targets, bytes."""

    def answer(base, other, targets, n_bytes):
        p, q = base.log_softmax(-1), other.log_softmax(-1)
        found = compare(base, other, targets, n_bytes)
        changes = {"kl": kl, "top1": top1, "bpb": bpb}
        return found | {key: float(how(p, q, targets, n_bytes)) for key, how in changes.items() if how}

    return answer


def _naive_softmax(base, other, targets, n_bytes):
    p, q = (x.exp() / x.exp().sum(dim=-1, keepdim=True) for x in (base, other))
    kl = (p * (p / q).log()).sum(-1).mean().item()
    nats = -q[torch.arange(len(targets)), targets].log().sum().item()
    return compare(base, other, targets, n_bytes) | {"kl": kl, "bpb": nats / math.log(2) / n_bytes}


def _log_of_softmax(base, other, targets, n_bytes):
    p, q = base.softmax(-1), other.softmax(-1)
    kl = (p * (p.log() - q.log())).sum(-1).mean().item()
    nats = -q[torch.arange(len(targets)), targets].log().sum().item()
    return compare(base, other, targets, n_bytes) | {"kl": kl, "bpb": nats / math.log(2) / n_bytes}


def _no_softmax(base, other, targets, n_bytes):
    kl = (base.exp() * (base - other)).sum(-1).mean().item()
    return compare(base, other, targets, n_bytes) | {"kl": kl}


def _over_the_tokens(base, other, targets, n_bytes):
    p, q = base.log_softmax(0), other.log_softmax(0)
    kl, nats = (p.exp() * (p - q)).sum(-1).mean().item(), _nats_of(q, targets).item()
    return compare(base, other, targets, n_bytes) | {"kl": kl, "bpb": nats / math.log(2) / n_bytes}


def _nats_of(logs, targets):
    return -logs[torch.arange(len(targets)), targets].sum()


def _never_negative(got, base, other, targets, n_bytes):
    return got["kl"] >= -1e-6 or f"Your KL is {got['kl']:.4g}. KL cannot fall below zero."


def _a_share(got, base, other, targets, n_bytes):
    share, n = got["top1"] * len(targets), len(targets)
    if not 0 <= got["top1"] <= 1:
        return f"top1 = {got['top1']:.4g}. A share lies between 0 and 1."
    tokens = f"{n} token{'s' * (n > 1)}"
    return abs(share - round(share)) < 1e-4 or f"top1 = {got['top1']:.4g}: no share of {tokens} can be that."


def _blind_to_shifts(run, base, other, targets, n_bytes):
    moved = run(base + 3.0, other - 2.0, targets, n_bytes)
    still = run(base, other, targets, n_bytes)
    lost = [key for key in still if not math.isfinite(still[key])]
    if lost:
        why = "a probability became 0 in float32, an exp became infinite, or a logarithm was taken of a logarithm"
        return f"Your {lost[0]} is {still[lost[0]]}: {why}."
    off = [key for key in still if not abs(moved[key] - still[key]) < 1e-4]
    return not off or f"Adding a constant to all logits changes no probability, but your {' and '.join(off)} changed."


def _logs(*rows):
    return torch.tensor(rows).log()


def _logits(seed, tokens, vocabulary, spread):
    return spread * torch.randn(tokens, vocabulary, generator=torch.Generator().manual_seed(seed))


_BASE = _logits(1, 5, 6, 2.0)

EXERCISE = Exercise(
    id="ch04.compare",
    title="What did the model lose?",
    spec='compare(base, other, targets, n_bytes) is {"kl", "top1", "bpb"}, from logits (tokens, vocabulary) of both.',
    kind="build",
    stub='''
def compare(base, other, targets, n_bytes):
    """Mean KL(base || other) in nats, share of equal likeliest tokens, bits per byte of other."""
    kl = ...
    top1 = ...
    bpb = ...
    return {"kl": kl, "top1": top1, "bpb": bpb}
''',
    reference=compare,
    cases=[
        Case("a coin and a bent coin", _logs([0.5, 0.5]), _logs([0.25, 0.75]), torch.tensor([0]), 1),
        Case("no change", _logs([0.7, 0.2, 0.1]), _logs([0.7, 0.2, 0.1]), torch.tensor([1]), 3),
        Case("two tokens", _logs([0.6, 0.4], [0.1, 0.9]), _logs([0.7, 0.3], [0.2, 0.8]), torch.tensor([0, 0]), 6),
        Case(
            "logits, not logs", torch.tensor([[1.0, 1.5, -1.0]]), torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([0]), 2
        ),
        Case("large logits", torch.tensor([[200.0, 80.0]]), torch.tensor([[100.0, -20.0]]), torch.tensor([0]), 4),
        Case("five tokens of six", _BASE, _BASE + _logits(2, 5, 6, 0.8), torch.tensor([3, 0, 5, 5, 2]), 11),
    ],
    properties=[
        relation("a shift of all logits changes nothing", _blind_to_shifts, "softmax only looks at differences."),
        law("KL is never negative", _never_negative, "It is zero only where both distributions are the same."),
        law("top-1 is a share of the tokens", _a_share, "Count equal choices, divide by the number of tokens."),
        equals_reference(atol=1e-5, rtol=1e-5, why="float32 logarithms of a few numbers."),
    ],
    wrong=[
        Wrong(
            "only KL so far",
            lambda *given: compare(*given) | {"top1": None, "bpb": None},
            "top1 and bpb are still empty.",
        ),
        Wrong(
            "KL the wrong way round",
            _variant(kl=lambda p, q, t, n: (q.exp() * (q - p)).sum(-1).mean()),
            "You weight by the new model's probabilities. The base's decide: Σ p·(ln p − ln q), with p the base's.",
        ),
        Wrong(
            "KL in bits",
            _variant(kl=lambda p, q, t, n: (p.exp() * (p - q)).sum(-1).mean() / math.log(2)),
            "KL is asked for in nats, with natural logarithms. Only bits per byte is in bits.",
        ),
        Wrong(
            "KL added up, not averaged",
            _variant(kl=lambda p, q, t, n: (p.exp() * (p - q)).sum()),
            "Sum over the vocabulary, but take the mean over the tokens.",
        ),
        Wrong(
            "KL averaged over the vocabulary",
            _variant(kl=lambda p, q, t, n: (p.exp() * (p - q)).mean()),
            "The sum over the vocabulary is part of the definition. Only the tokens are averaged.",
        ),
        Wrong(
            "KL of the target only",
            _variant(kl=lambda p, q, t, n: (p - q)[torch.arange(len(t)), t].mean()),
            "You compare the probability of the token that came. KL asks about every token that could have come.",
        ),
        Wrong(
            "no softmax",
            _no_softmax,
            "Logits are not log-probabilities yet: log_softmax makes them so.",
        ),
        Wrong(
            "softmax by hand",
            _naive_softmax,
            "exp of a logit of 100 is more than float32 holds. log_softmax subtracts the largest logit first.",
        ),
        Wrong(
            "the logarithm of softmax",
            _log_of_softmax,
            "A small probability becomes 0 in float32, and its logarithm −inf. log_softmax stays in logarithms.",
        ),
        Wrong(
            "kl_div with a logarithm for p",
            _variant(kl=lambda p, q, t, n: torch.nn.functional.kl_div(q, p, reduction="batchmean")),
            "kl_div takes a logarithm first and a *probability* second, unless you say log_target=True. Yours took the "
            "logarithm of a negative number.",
        ),
        Wrong(
            "top-1 of the base against the text",
            _variant(top1=lambda p, q, t, n: (p.argmax(-1) == t).float().mean()),
            "That is how often the base guesses the text. Top-1 agreement compares the base with the other model.",
        ),
        Wrong(
            "bits per byte as a difference",
            _variant(bpb=lambda p, q, t, n: (_nats_of(q, t) - _nats_of(p, t)) / math.log(2) / n),
            "That is what the other model needs *more* than the base. Asked is all that it needs.",
        ),
        Wrong(
            "top-1 against the text",
            _variant(top1=lambda p, q, t, n: (q.argmax(-1) == t).float().mean()),
            "That is how often the new model guesses the text. Top-1 agreement compares it with the base model.",
        ),
        Wrong(
            "top-1 as a count",
            _variant(top1=lambda p, q, t, n: (p.argmax(-1) == q.argmax(-1)).float().sum()),
            "You counted the tokens that agree. Divide by the number of tokens.",
        ),
        Wrong(
            "nats per byte",
            _variant(bpb=lambda p, q, t, n: _nats_of(q, t) / n),
            "Bits use the logarithm to base 2: divide nats by ln 2.",
        ),
        Wrong(
            "bits per token",
            _variant(bpb=lambda p, q, t, n: _nats_of(q, t) / math.log(2) / len(t)),
            "You divided by the number of tokens. Bits per *byte* divides by the bytes of the text.",
        ),
        Wrong(
            "the mean over tokens, then over bytes",
            _variant(bpb=lambda p, q, t, n: _nats_of(q, t) / math.log(2) / len(t) / n),
            "You averaged over the tokens before you divided by the bytes (cross_entropy does so by itself, unless "
            'reduction="sum"). Add up the bits of all tokens, then divide once.',
        ),
        Wrong(
            "multiplied by ln 2",
            _variant(bpb=lambda p, q, t, n: _nats_of(q, t) * math.log(2) / n),
            "A bit is ln 2 = 0.69 nats, so the same surprise is *more* bits than nats: divide by ln 2.",
        ),
        Wrong(
            "the minus sign forgotten",
            _variant(bpb=lambda p, q, t, n: -_nats_of(q, t) / math.log(2) / n),
            "The logarithm of a probability is negative. What a token costs is minus that.",
        ),
        Wrong(
            "softmax over the tokens",
            _over_the_tokens,
            "Your softmax runs down the tokens. The probabilities of a place add up to 1 over the vocabulary.",
        ),
        Wrong(
            "bits per byte of the base",
            _variant(bpb=lambda p, q, t, n: _nats_of(p, t) / math.log(2) / n),
            "That is how well the base predicts. The question is what the other model needs.",
        ),
        Wrong(
            "bits of the likeliest token",
            _variant(bpb=lambda p, q, t, n: -q.amax(-1).sum() / math.log(2) / n),
            "You took the probability of the model's own favourite. The text decides: use targets.",
        ),
    ],
    hints=[
        "log_softmax(dim=-1) turns logits into log-probabilities. Then: a weighted sum, two argmax, one look-up.",
        "p = (½, ½), q = (¼, ¾): KL = ½ ln(½ / ¼) + ½ ln(½ / ¾) = 0.1438. If token 0 comes, other needs "
        "−log2(¼) = 2 bits; in a text of one byte that is 2 bits per byte. The favourites: base has a tie and argmax "
        "takes the first, other takes the second. So top1 = 0.",
        "    p, q = base.log_softmax(dim=-1), other.log_softmax(dim=-1)\n"
        "    kl = (____.exp() * (____ - ____)).sum(dim=-1).mean().item()\n"
        "    top1 = (base.argmax(dim=-1) == ____).float().mean().item()\n"
        "    nats = -q[torch.arange(len(targets)), ____].sum().item()\n    bpb = nats / ____ / ____",
    ],
    passed="These three numbers judge every model from here on. course_lib.evaluate computes them the same way.",
)
