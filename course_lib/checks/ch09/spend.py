"""ch09.spend: which tensors get more bits, when bytes are short: a mix of one's own."""

import itertools

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law


def spend(gains, costs, budget):
    chosen = []
    for name in sorted(gains, key=lambda name: gains[name] / costs[name], reverse=True):
        if gains[name] > 0 and costs[name] <= budget:
            chosen.append(name)
            budget -= costs[name]
    return chosen


def _with(score=lambda gain, cost: gain / cost, reverse=True, stop=False, afford=lambda cost, left: cost <= left,
          worth=lambda gain: gain > 0, pay=True, order=None):  # fmt: skip
    """The reference with some of its steps replaced."""

    def variant(gains, costs, budget):
        chosen, left = [], budget
        names = (
            list(gains) if order == "file" else sorted(gains, key=lambda n: score(gains[n], costs[n]), reverse=reverse)
        )
        for name in names:
            if worth(gains[name]) and afford(costs[name], left):
                chosen.append(name)
                left -= costs[name] if pay else 0
            elif stop and worth(gains[name]):
                break
        return sorted(chosen, key=list(gains).index) if order == "sorted" else chosen

    return variant


def _afterwards(gains, costs, budget):
    """Takes a tensor as long as anything is left, and pays afterwards."""
    chosen = []
    for name in sorted(gains, key=lambda n: gains[n] / costs[n], reverse=True):
        if gains[name] > 0 and budget > 0:
            chosen.append(name)
            budget -= costs[name]
    return chosen


def _best_set(gains, costs, budget):
    sets = [names for n in range(len(gains) + 1) for names in itertools.combinations(gains, n)]
    within = [names for names in sets if sum(costs[name] for name in names) <= budget]
    return list(max(within, key=lambda names: sum(gains[name] for name in names)))


def _within(got, gains, costs, budget):
    unknown = [name for name in got if name not in gains]
    if unknown or len(set(got)) != len(got):
        return f"{unknown[0]} is no tensor." if unknown else "A tensor is named twice."
    paid = sum(costs[name] for name in got)
    return paid <= budget or f"Yours cost {paid} bytes together, and {budget} are there."


def _nothing_useless(got, gains, costs, budget):
    useless = [name for name in got if gains[name] <= 0]
    return not useless or f"{useless[0]} gains {gains[useless[0]]}: with more bits it does not get better."


def _nothing_left_out(got, gains, costs, budget):
    left = budget - sum(costs[name] for name in got)
    missed = [name for name in gains if name not in got and gains[name] > 0 and costs[name] <= left]
    return (
        not missed
        or f"{left} bytes are left, and {missed[0]}, which gains {gains[missed[0]]}, costs {costs[missed[0]]}."
    )


def _case(name, budget, **tensors):
    return Case(
        name, {k: gain for k, (gain, _) in tensors.items()}, {k: cost for k, (_, cost) in tensors.items()}, budget
    )


EXERCISE = Exercise(
    id="ch09.spend",
    title="A mix of your own",
    spec="spend(gains, costs, budget): names, best gain per byte first, each taken if it gains and still fits.",
    kind="design",
    stub='''
def spend(gains, costs, budget):
    """Tensors to give more bits to: by gain per byte, the best first, skipping what no longer fits or gains nothing."""
    ...
''',
    reference=spend,
    piece="spend",
    cases=[
        _case("one that fits", 10, v=(0.5, 10)),
        _case("one that does not", 9, v=(0.5, 10)),
        _case("small and good", 12, down=(0.6, 12), v=(0.4, 4)),
        _case("one too large in the middle", 10, v=(0.9, 6), down=(0.8, 8), q=(0.2, 4)),
        _case("one gets worse", 20, q=(-0.1, 4), v=(0.3, 4), o=(0.1, 4)),
        _case("one gains nothing", 20, k=(0.0, 1), v=(0.3, 4)),
        _case("exactly all of it", 16, gate=(0.2, 8), up=(0.3, 8)),
        _case("cheapest is not best", 9, k=(0.01, 1), v=(0.8, 4), o=(0.7, 5)),
        _case("a layer", 30, q=(0.10, 8), k=(0.02, 4), v=(0.31, 4), o=(0.12, 8), gate=(0.05, 16), down=(0.44, 16)),
    ],
    properties=[
        law("within the budget", _within, "Bytes are what there is too little of."),
        law("nothing without a gain", _nothing_useless, "A measured gain can be zero or negative."),
        law("nothing left out that fits", _nothing_left_out, "What does not fit is skipped; something smaller may."),
        equals_reference(
            why="Best gain per byte first, even where another set would gain more. (No two of a case are equally good.)"
        ),
    ],
    wrong=[
        Wrong(
            "the largest gain first",
            _with(score=lambda gain, cost: gain),
            "You look at the gain only. A large tensor gains much and costs much: divide by its bytes.",
        ),
        Wrong(
            "the cheapest first",
            _with(score=lambda gain, cost: -cost),
            "You look at the price only. What does each byte buy?",
        ),
        Wrong(
            "the worst first",
            _with(reverse=False),
            "You begin with those that buy least. Sort by gain / cost, largest first: sorted(…, reverse=True).",
        ),
        Wrong(
            "stops at the first that is too large",
            _with(stop=True),
            "Your loop ends at the first tensor that does not fit. A smaller one after it still may.",
        ),
        Wrong(
            "strictly below",
            _with(afford=lambda cost, left: cost < left),
            "A tensor that uses up the budget exactly fits: ≤.",
        ),
        Wrong(
            "never paid",
            _with(pay=False),
            "Each is compared with the whole budget. Take off what has been spent.",
        ),
        Wrong(
            "paid afterwards",
            _afterwards,
            "You take a tensor while anything is left, and may end up below zero. Look at its price first.",
        ),
        Wrong(
            "gains nothing, and is taken",
            _with(worth=lambda gain: True),
            "Some tensors gain nothing, or get worse. Those bytes are better kept.",
        ),
        Wrong(
            "zero counts as a gain",
            _with(worth=lambda gain: gain >= 0),
            "A gain of 0 is no gain.",
        ),
        Wrong(
            "in the order of the file",
            _with(order="file"),
            "You take tensors as they come. Sort them first.",
        ),
        Wrong(
            "sorted back",
            _with(order="sorted"),
            "The right ones, in the order of the file. Asked is the order in which you chose.",
        ),
        Wrong(
            "the best set",
            _best_set,
            "That is the set that gains most, which takes for ever with many tensors. Asked is the simple rule: best "
            "first.",
        ),
    ],
    hints=[
        "Sort the names by gain per byte. Go through them with a purse: take one if it gains something and its price "
        "is in the purse, and pay.",
        "down gains 0.6 for 12 bytes (0.05 a byte), v gains 0.4 for 4 (0.1 a byte). With 12 bytes: v first; then 8 are "
        "left, and down no longer fits.",
        "    for name in sorted(gains, key=lambda name: ____, reverse=____):\n"
        "        if gains[name] > ____ and ____ <= budget:\n"
        "            chosen.append(name)\n            budget -= ____",
    ],
    passed="llama.cpp's rule is one answer for all models. Yours asked this model.",
)
