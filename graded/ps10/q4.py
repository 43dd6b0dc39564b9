"""ps10.q4: what users of a server have waited for"""

import math

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def serving_figures(requests, limit):
    """Median wait for a first token, 95th percentile of the gaps, tokens a second, and the share of good requests."""

    def rank(values, share):
        return sorted(values)[math.ceil(share * len(values)) - 1]

    waits, gaps, good = [], [], 0
    for request in requests:
        times = request["tokens"]
        own = [after - before for before, after in zip(times, times[1:], strict=False)]
        if times:
            waits.append(times[0] - request["at"])
            good += waits[-1] <= limit["wait"] and max(own, default=0.0) <= limit["gap"]
        gaps += own
    span = max(max(r["tokens"], default=0.0) for r in requests) - min(r["at"] for r in requests)
    return {
        "wait": rank(waits, 0.5),
        "gap": rank(gaps, 0.95),
        "rate": sum(len(r["tokens"]) for r in requests) / span,
        "good": good / len(requests),
    }


def _nearest(values, share):
    return sorted(values)[math.ceil(share * len(values)) - 1]


def _between(values, share):
    return torch.quantile(torch.tensor(values, dtype=torch.float64), share).item()


def _own_gaps(request):
    return [b - a for a, b in zip(request["tokens"], request["tokens"][1:], strict=False)]


def _with_wait(request):
    return _own_gaps({"tokens": [request["at"], *request["tokens"]]})


def _mean_gap(request):
    gaps = _own_gaps(request)
    return [sum(gaps) / len(gaps)] if gaps else []


def _whole_span(requests):
    return max(t for r in requests for t in r["tokens"]) - min(r["at"] for r in requests)


def _token_span(requests):
    times = [t for r in requests for t in r["tokens"]]
    return max(times) - min(times)


def _last_line(requests):
    return [r["tokens"][-1] for r in requests if r["tokens"]][-1] - min(r["at"] for r in requests)


def _sum_of_spans(requests):
    return sum(r["tokens"][-1] - r["at"] for r in requests if r["tokens"])


def _figures(requests, limit, rank=_nearest, gaps=_own_gaps, start=lambda r: r["at"], span=_whole_span, holds=max,
             of=lambda requests: len(requests), waited=True, count=lambda r: len(r["tokens"])):  # fmt: skip
    """The reference with one part changed."""
    served = [r for r in requests if r["tokens"]]
    good = sum(
        (r["tokens"][0] - r["at"] <= limit["wait"] or not waited)
        and (holds(_own_gaps(r)) if len(r["tokens"]) > 1 else 0.0) <= limit["gap"]
        for r in served
    )
    return {
        "wait": rank([r["tokens"][0] - start(r) for r in served], 0.5),
        "gap": rank([gap for r in requests for gap in gaps(r)], 0.95),
        "rate": sum(map(count, requests)) / span(requests),
        "good": good / of(requests),
    }


def _tighter(name):
    return lambda requests, limit: _figures(requests, limit | {name: limit[name] - 1e-9})


NAMES = ("wait for the first token", "95th percentile of the gaps", "tokens a second", "good requests")


WRONG = [
    Mistake(
        "percentiles between two values",
        lambda *a: _figures(*a, rank=_between),
        "The nearest rank is asked: the value at place ceil(share · n) of the sorted ones.",
        loses=NAMES[:2],
    ),
    Mistake(
        "the rank one too high",
        lambda *a: _figures(*a, rank=lambda v, share: sorted(v)[min(len(v) - 1, math.ceil(share * len(v)))]),
        "Place ceil(share · n) counts from 1.",
        loses=NAMES[:2],
    ),
    Mistake(
        "means instead of percentiles",
        lambda *a: _figures(*a, rank=lambda v, share: sum(v) / len(v)),
        "A mean hides the one who waited: median and 95th percentile are asked.",
        loses=NAMES[:2],
    ),
    Mistake(
        "time of day for a wait",
        lambda *a: _figures(*a, start=lambda r: 0.0),
        "A wait begins when the request comes.",
        loses=NAMES[:1],
    ),
    Mistake(
        "the wait among the gaps",
        lambda *a: _figures(*a, gaps=_with_wait),
        "A gap lies between two tokens of a request; the wait for the first one is another figure.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "a mean gap for each request",
        lambda *a: _figures(*a, gaps=_mean_gap),
        "All gaps of all requests are sorted together.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "from the first token on",
        lambda *a: _figures(*a, span=_token_span),
        "The server was busy from the first arrival on.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "times added up",
        lambda *a: _figures(*a, span=_sum_of_spans),
        "Requests are served side by side: the time from the first arrival to the last token counts once.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "first tokens left out",
        lambda *a: _figures(*a, count=lambda r: max(0, len(r["tokens"]) - 1)),
        "First tokens are tokens, too.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "failures not counted",
        lambda *a: _figures(*a, of=lambda requests: sum(bool(r["tokens"]) for r in requests)),
        "A request without an answer is not good, and it is a request.",
        loses=NAMES[3:],
    ),
    Mistake(
        "good on average",
        lambda *a: _figures(*a, holds=lambda gaps: sum(gaps) / len(gaps)),
        "One long gap is what a user remembers: the largest one must hold the limit.",
        loses=NAMES[3:],
    ),
    Mistake(
        "good whatever the wait",
        lambda *a: _figures(*a, waited=False),
        "Both limits must hold: that of the wait and that of the gaps.",
        loses=NAMES[3:],
    ),
    Mistake(
        "a wait below the limit",
        _tighter("wait"),
        "At most the limit: a wait that just meets it is good.",
        loses=NAMES[3:],
    ),
    Mistake(
        "a gap below the limit",
        _tighter("gap"),
        "No gap above the limit: one that just meets it is good.",
        loses=NAMES[3:],
    ),
    Mistake(
        "the largest gap",
        lambda *a: _figures(*a, rank=lambda values, share: _nearest(values, 1.0 if share > 0.9 else share)),
        "The 95th percentile leaves one gap in twenty above it; yours is the largest.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "requests a second",
        lambda *a: _figures(*a, count=lambda r: bool(r["tokens"])),
        "The rate counts tokens, not requests.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "from the first that was answered",
        lambda *a: _figures(*a, span=lambda requests: _whole_span([r for r in requests if r["tokens"]])),
        "The first arrival is that of any request, answered or not.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "the first line for the first arrival",
        lambda *a: _figures(*a, span=lambda rs: _whole_span(rs) + min(r["at"] for r in rs) - rs[0]["at"]),
        "Requests stand in no order: the first arrival is the smallest `at` of all, on whatever line.",
        loses=NAMES[2:3],
    ),
    Mistake(
        "the last line for the last token",
        lambda *a: _figures(*a, span=_last_line),
        "Requests stand in no order: the last token of all may be any request's. Look through all of them.",
        loses=NAMES[2:3],
    ),
]


def exercise(seed):
    def case(name, offset, count):
        """Requests in no order; of five, one fails, one waits long, one has a long gap, one has one token."""
        generator = torch.Generator().manual_seed(seed + offset)

        def draw(low, high):
            return low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64).item()

        requests, at = [], draw(10, 20)
        for i in range(count):
            kind, tokens, now = i % 5, [], at + draw(0.1, 0.4) + 0.8 * (i % 5 == 1)
            length = (0, 6, 9, 1, 7)[kind]
            for step in range(length):
                tokens.append(now)
                now += draw(0.02, 0.05) + (0.3 if kind == 2 and step == 4 else 0.0)
            requests.append({"at": at, "tokens": tokens})
            at += draw(0.05, 0.3)
        return Case(name, requests[3:] + requests[:3], {"wait": 0.6, "gap": 0.1})

    cases = [case("five requests", 0, 5), case("a dozen", 1, 12), case("nineteen", 2, 19)]
    tokens = [10.5, 10.75], [11.25, 11.75, 12.0], [12.5], [13.25, 13.5], [14.25, 14.5]
    met = [{"at": 10.0 + i, "tokens": list(times)} for i, times in enumerate(tokens)]
    limits = Case("limits that are just met", met, {"wait": 0.5, "gap": 0.25})
    near = dict(rtol=1e-9)
    return question(
        "ps10.q4",
        "What users have waited for",
        "serving_figures(requests, limit): wait, gap, rate, and the share of requests that were served well.",
        serving_figures,
        properties=[
            agrees(NAMES[0], cases, "From arrival to first token, by nearest rank.", part="wait", **near),
            agrees(NAMES[1], cases, "All gaps together, by nearest rank.", part="gap", **near),
            agrees(NAMES[2], cases, "All tokens, from first arrival to last token.", part="rate", **near),
            agrees(NAMES[3], [*cases, limits], "Both limits, of all requests.", part="good", **near),
        ],
        wrong=WRONG,
    )
