"""ps10.q5: which artifact ships, and which one waits behind it"""

import math

import torch

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question


def release(candidates, policy):
    """Bytes of each candidate, the gates that stay shut, which one ships, and which one stands by."""

    def size(c):
        rest = c["params"] - c["kept"]
        groups = math.ceil(rest / c["group"]) if c["group"] else 0
        zeros = math.ceil(groups * c["bits"] / 8) if c["zeros"] else 0
        return 2 * c["kept"] + math.ceil(rest * c["bits"] / 8) + 2 * groups + zeros

    def known(c, *names):
        return all(c[name] is not None and not math.isnan(c[name]) for name in names)

    def shut(c):
        found = []
        if not known(c, "kl") or c["kl"] > policy["kl"]:
            found.append("language")
        if known(c, "lost", "won"):
            lead, n = c["lost"] - c["won"], policy["items"]
            high = lead / n + 1.645 * math.sqrt(c["lost"] + c["won"] - lead**2 / n) / n
        if not known(c, "lost", "won") or high >= policy["margin"]:
            found.append("task")
        memory = size(c) + policy["context"] * policy["token_bytes"]
        if not known(c, "p95") or c["p95"] > policy["p95"] or memory > policy["memory"]:
            found.append("serving")
        return ", ".join(found)

    sizes, gates = [size(c) for c in candidates], [shut(c) for c in candidates]
    ready = sorted((i for i in range(len(candidates)) if not gates[i]), key=lambda i: sizes[i])
    return {
        "bytes": torch.tensor(sizes),
        "shut": gates,
        "ship": ready[0] if ready else -1,
        "stand_by": ready[1] if len(ready) > 1 else -1,
    }


def _size(c, scales=2, zeros=lambda groups, bits: -(-groups * bits // 8), kept=2):
    rest = c["params"] - c["kept"]
    groups = -(-rest // c["group"]) if c["group"] else 0
    packed = zeros(groups, c["bits"]) if c["zeros"] else 0
    return kept * c["kept"] + -(-rest * c["bits"] // 8) + scales * groups + packed


def _high(lost, won, n, z=1.645):
    return (lost - won) / n + z * math.sqrt(lost + won - (lost - won) ** 2 / n) / n


def _unknown(value):
    return value is None or math.isnan(value)


def _release(candidates, policy, size=_size, high=_high, unknown=_unknown, cache=True, edge=lambda a, b: a >= b,
             order=lambda sizes, c, i: sizes[i]):  # fmt: skip
    """The reference with one part changed."""

    def opened(c, sized):
        lost, won = (0 if _unknown(c[name]) else c[name] for name in ("lost", "won"))
        kl, p95 = (0.0 if _unknown(c[name]) else c[name] for name in ("kl", "p95"))
        memory = sized + cache * policy["context"] * policy["token_bytes"]
        return {
            "language": not unknown(c["kl"]) and kl <= policy["kl"],
            "task": not (unknown(c["lost"]) or unknown(c["won"]))
            and not edge(high(lost, won, policy["items"]), policy["margin"]),
            "serving": not unknown(c["p95"]) and p95 <= policy["p95"] and memory <= policy["memory"],
        }

    sizes = [size(c) for c in candidates]
    shut = [", ".join(g for g, ok in opened(c, s).items() if not ok) for c, s in zip(candidates, sizes, strict=True)]
    ready = sorted((i for i, names in enumerate(shut) if not names), key=lambda i: order(sizes, candidates[i], i))
    picked = [*ready, -1, -1]
    return {"bytes": torch.tensor(sizes), "shut": shut, "ship": picked[0], "stand_by": picked[1]}


NAMES = ("bytes", "gates, all measured", "gates, not all measured", "what ships", "what stands by")

WRONG = [
    Mistake(
        "scales forgotten",
        lambda *a: _release(*a, size=lambda c: _size(c, scales=0)),
        "Each group brings a scale of 2 bytes.",
        loses=NAMES[:1],
    ),
    Mistake(
        "zeros of two bytes",
        lambda *a: _release(*a, size=lambda c: _size(c, zeros=lambda groups, bits: 2 * groups)),
        "Zeros are packed, as many bits as a code has.",
        loses=(NAMES[0], NAMES[1], NAMES[3]),
    ),
    Mistake(
        "everything quantized",
        lambda *a: _release(*a, size=lambda c: _size(c | {"kept": 0})),
        "Some parameters keep 16 bits: 2 bytes each.",
        loses=NAMES[:1],
    ),
    Mistake(
        "the drop itself",
        lambda *a: _release(*a, high=lambda lost, won, n: (lost - won) / n),
        "A drop below the margin proves nothing by itself: the upper end of its interval must lie below.",
        loses=(NAMES[1], NAMES[3], NAMES[4]),
    ),
    Mistake(
        "an interval for both sides",
        lambda *a: _release(*a, high=lambda lost, won, n: _high(lost, won, n, 1.96)),
        "Only a loss is feared: the one-sided 95 % interval takes 1.645.",
        loses=(NAMES[1], NAMES[3], NAMES[4]),
    ),
    Mistake(
        "what is not measured passes",
        lambda *a: _release(*a, unknown=lambda value: False),
        "A figure that nobody has measured keeps its gate shut.",
        loses=NAMES[2:],
    ),
    Mistake(
        "NaN passes",
        lambda *a: _release(*a, unknown=lambda value: value is None),
        "NaN is no figure: it is neither below a limit nor above it.",
        loses=NAMES[2:],
    ),
    Mistake(
        "memory without the cache",
        lambda *a: _release(*a, cache=False),
        "The server holds the cache of its context beside the weights.",
        loses=NAMES[1:2],
    ),
    Mistake(
        "the first that passes",
        lambda *a: _release(*a, order=lambda sizes, c, i: i),
        "The smallest of those that pass ships.",
        loses=NAMES[3:],
    ),
    Mistake(
        "the least KL",
        lambda *a: _release(*a, order=lambda sizes, c, i: c["kl"]),
        "All that pass are good enough: the smallest one ships.",
        loses=NAMES[3:],
    ),
    Mistake(
        "memory just met is refused",
        lambda c, policy: _release(c, policy | {"memory": policy["memory"] - 1}),
        "At most the memory: what fills it to the last byte fits.",
        loses=(NAMES[1], NAMES[3]),
    ),
    Mistake(
        "the last of equal sizes",
        lambda *a: _release(*a, order=lambda sizes, c, i: (sizes[i], -i)),
        "Of equally small candidates the first in the list ships; the next one stands by.",
        loses=NAMES[3:],
    ),
    Mistake(
        "lost items are enough",
        lambda c, policy: _release([one | {"won": one["won"] or 0} for one in c], policy),
        "The task gate needs lost and won: where either was not measured it stays shut.",
        loses=NAMES[2:],
    ),
    Mistake(
        "0 taken for not measured",
        lambda *a: _release(*a, unknown=lambda value: not value or math.isnan(value)),
        "0 is a figure, and a good one: ask for None and NaN.",
        loses=(NAMES[1], NAMES[2], NAMES[4]),
    ),
    Mistake(
        "zeros forgotten",
        lambda *a: _release(*a, size=lambda c: _size(c | {"zeros": False})),
        "Where `zeros` is true each group also stores a zero of `bits` bits.",
        loses=NAMES[:1],
    ),
    Mistake(
        "groups of all parameters",
        lambda *a: _release(
            *a,
            size=lambda c: (
                _size(c) + 2 * (c["group"] and -(-c["params"] // c["group"]) + -(c["params"] - c["kept"]) // c["group"])
            ),
        ),
        "Groups are cut from the quantized weights only; what stays at 2 bytes has no scale.",
        loses=(NAMES[0], NAMES[1], NAMES[3]),
    ),
]


def exercise(seed):
    generator = torch.Generator().manual_seed(seed)

    def some(low, high):
        return int(torch.randint(low, high, (), generator=generator))

    def candidate(bits, group, zeros, kl, lost, won, p95):
        return {"bits": bits, "group": group, "zeros": zeros, "kl": kl, "lost": lost, "won": won, "p95": p95}

    def case(name, memory, *candidates):
        params = some(1_000_000, 1_020_000)
        kept = some(100_000, 101_000)
        policy = {"kl": 0.05, "items": 2000, "margin": 0.01, "p95": 30.0, "memory": memory, "context": 1024,
                  "token_bytes": 256}  # fmt: skip
        return Case(name, [{"params": params, "kept": kept} | c for c in candidates], policy)

    good8, good4 = candidate(8, 0, False, 0.001, 6, 5, 28.0), candidate(4, 32, True, 0.02, 14, 12, 20.0)
    plain = candidate(16, 0, False, 0.0, 2, 2, 29.0)
    measured = [
        case("the smallest is wrong too often", 3_000_000, plain, good8, good4,
             candidate(3, 64, True, 0.04, 60, 48, 18.0)),
        case("memory decides", 1_250_000, good8, candidate(4, 64, True, 0.03, 20, 15, 30.0), good4,
             candidate(4, 128, True, 0.09, 14, 12, 19.0)),
        case("the edge of the interval", 3_000_000, candidate(6, 64, False, 0.02, 60, 55, 25.0), good8,
             candidate(3, 64, False, 0.05, 40, 32, 40.0), candidate(4, 64, False, 0.05, 51, 49, 30.0)),
        case("nothing passes", 500_000, good4, candidate(2, 16, True, 0.4, 400, 20, 15.0)),
    ]  # fmt: skip
    tight = case("memory met exactly", 0, good8, good4)
    need = _size(tight.args[0][1]) + 1024 * 256
    measured.append(Case(tight.name, tight.args[0], tight.args[1] | {"memory": need}))
    measured.append(case("two of one size", 3_000_000, good8, good4, good4 | {"kl": 0.01}))
    missing = [
        case("half of the task", 3_000_000, good8, candidate(3, 64, True, 0.03, 9, None, 18.0), good4),
        case("no task figures", 3_000_000, good8, candidate(3, 64, True, 0.03, None, None, 18.0), good4),
        case("a KL that is NaN", 3_000_000, candidate(2, 16, True, float("nan"), 9, 8, 10.0), good4, plain),
        case("no times", 3_000_000, candidate(4, 64, False, 0.02, 9, 8, None), good8, plain),
    ]
    every = measured + missing
    return question(
        "ps10.q5",
        "Which artifact ships",
        "release(candidates, policy): bytes, gates that stay shut, what ships, what stands by.",
        release,
        properties=[
            agrees(NAMES[0], every, "Codes, scales, zeros, and what stays at 16 bits.", part="bytes"),
            agrees(NAMES[1], measured, "Three gates, each with its limit.", part="shut"),
            agrees(NAMES[2], missing, "Not measured is not passed.", points=0.5, part="shut"),
            agrees(NAMES[3], every, "The smallest of those that pass.", part="ship"),
            agrees(NAMES[4], every, "The next one.", points=0.5, part="stand_by"),
        ],
        wrong=WRONG,
    )
