"""ps08.q5: the fastest server that is still good enough"""

import math

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question
from graded.ps08.draw import draw


def fastest_server(model, load, machine, weight_errors, cache_errors):
    """Bits for weights and cache that serve the most tokens a second within an error, a memory and a pace."""
    pages = math.ceil(load["context"] / load["page"])
    best = None
    for b, weight_error in zip((16, 8, 4), weight_errors, strict=True):
        rest = model["params"] - model["kept"]
        weights = 2 * model["kept"] + math.ceil(rest * b / 8) + (0 if b == 16 else 2 * math.ceil(rest / 128))
        for c, cache_error in zip((16, 8, 4), cache_errors, strict=True):
            if weight_error + cache_error > load["error"]:
                continue
            token = math.ceil(model["numbers"] * c / 8) + (0 if c == 16 else 4 * math.ceil(model["numbers"] / 32))
            fit = (machine["memory"] - weights) // (pages * load["page"] * token)
            quick = (machine["bandwidth"] // load["pace"] - weights) // (load["context"] * token)
            n = min(fit, quick)
            rate = n * machine["bandwidth"] / (weights + n * load["context"] * token) if n > 0 else 0.0
            if n > 0 and (best is None or rate > best["rate"]):
                limit = "memory" if fit <= quick else "pace"
                best = {"bits": [b, c], "requests": n, "rate": rate, "limit": limit}
    return best


def _scales(n, group, each):
    return each * math.ceil(n / group)


def _fastest(model, load, machine, weight_errors, cache_errors, weight_scales=lambda n: _scales(n, 128, 2),
             cache_scales=lambda n: _scales(n, 32, 4), kept=2, tokens=lambda context, page: -(-context // page) * page,
             allowed=lambda e, most: e <= most, paced=True, fits=True,
             pace=lambda load: load["pace"], read=lambda load: load["context"], pick=None, none=None,
             told=lambda n, bandwidth, w, kv: n * bandwidth / (w + kv), tie="memory",
             names=("memory", "pace")):  # fmt: skip
    """The reference with one part changed."""
    found = []
    rest = model["params"] - model["kept"]
    for b, we in zip((16, 8, 4), weight_errors, strict=True):
        w = math.ceil(kept * model["kept"] if kept else model["kept"] * b / 8) + -(-rest * b // 8)
        w += weight_scales(rest) if b < 16 else 0
        for c, ce in zip((16, 8, 4), cache_errors, strict=True):
            token = -(-model["numbers"] * c // 8) + (cache_scales(model["numbers"]) if c < 16 else 0)
            fit = (machine["memory"] - w) // (tokens(load["context"], load["page"]) * token)
            quick = (machine["bandwidth"] // pace(load) - w) // (read(load) * token)
            n = min(fit if fits else quick, quick if paced else fit)
            if n <= 0 or not allowed(we + ce, load["error"]):
                continue
            rate = n * machine["bandwidth"] / (w + n * read(load) * token)
            limit = names[0] if fit < quick or (fit == quick and tie == "memory") else names[1]
            shown = told(n, machine["bandwidth"], w, n * read(load) * token)
            found.append(({"bits": [b, c], "requests": n, "rate": shown, "limit": limit}, rate))
    best = None
    for one in found if pick is None else pick(found):
        if best is None or one[1] > best[1]:
            best = one
    return best[0] if best else none


NAMES = ("the bits", "requests", "the rate", "what limits them", "nothing will do, or just")

WRONG = [
    Mistake(
        "the errors ignored",
        lambda *a: _fastest(*a, allowed=lambda e, most: True),
        "A pair of bits whose errors together exceed load['error'] is out.",
        loses=(*NAMES[:3], NAMES[4]),
    ),
    Mistake(
        "strictly below the error",
        lambda *a: _fastest(*a, allowed=lambda e, most: e < most),
        "An error that is just met is allowed.",
        loses=NAMES[4:],
    ),
    Mistake(
        "scales of the cache forgotten",
        lambda *a: _fastest(*a, cache_scales=lambda n: 0),
        "Below 16 bits 32 numbers of a token share a scale and an offset, 4 bytes together.",
        loses=(*NAMES[1:3], NAMES[4]),
    ),
    Mistake(
        "the cache's offset forgotten",
        lambda *a: _fastest(*a, cache_scales=lambda n: _scales(n, 32, 2)),
        "A scale and an offset, two bytes each: 4 bytes for 32 numbers.",
        loses=(*NAMES[1:3], NAMES[4]),
    ),
    Mistake(
        "scales of the weights forgotten",
        lambda *a: _fastest(*a, weight_scales=lambda n: 0),
        "Below 16 bits each 128 weights store a scale of two bytes.",
        loses=(*NAMES[1:3], NAMES[4]),
    ),
    Mistake(
        "kept weights quantized",
        lambda *a: _fastest(*a, kept=0),
        "model['kept'] weights stay at two bytes each, whatever b is.",
        loses=(*NAMES[1:3], NAMES[4]),
    ),
    Mistake(
        "pages forgotten",
        lambda *a: _fastest(*a, tokens=lambda context, page: context),
        "Memory is handed out in whole pages: round the context up before you divide.",
        loses=(*NAMES[:3], NAMES[4]),
    ),
    Mistake(
        "empty slots are read",
        lambda *a: _fastest(*a, read=lambda load: -(-load["context"] // load["page"]) * load["page"]),
        "A step reads the tokens that are there. Empty slots cost memory, not time.",
        loses=(*NAMES[:3], NAMES[4]),
    ),
    Mistake(
        "the pace ignored",
        lambda *a: _fastest(*a, paced=False),
        "Every request must get at least load['pace'] tokens a second: a step may take 1 / pace seconds and no more.",
        loses=NAMES[1:3],
    ),
    Mistake(
        "the memory ignored",
        lambda *a: _fastest(*a, fits=False),
        "The caches of all requests and the weights must fit into the memory.",
        loses=(*NAMES[:3], NAMES[4]),
    ),
    Mistake(
        "fewest bits for the weights first",
        lambda *a: _fastest(*a, pick=lambda found: sorted(found, key=lambda f: f[0]["bits"])[:1]),
        "With long contexts and many requests most of what is read is cache: compare the rates.",
        loses=(*NAMES[:3], NAMES[4]),
    ),
    Mistake(
        "fewest bits for the cache first",
        lambda *a: _fastest(*a, pick=lambda found: sorted(found, key=lambda f: f[0]["bits"][::-1])[:1]),
        "With short contexts most of what is stored is weights: compare the rates.",
        loses=(NAMES[0], NAMES[1], NAMES[2], NAMES[4]),
    ),
    Mistake(
        "the most requests",
        lambda *a: _fastest(*a, pick=lambda found: [max(found, key=lambda f: f[0]["requests"])] if found else []),
        "More requests at once need not be more tokens a second: a step that reads more takes longer.",
        loses=NAMES[:3],
    ),
    Mistake(
        "weights not read",
        lambda *a: _fastest(*a, told=lambda n, bandwidth, w, kv: n * bandwidth / kv),
        "A step reads all weights once, and the cache of every request.",
        loses=(NAMES[2], NAMES[4]),
    ),
    Mistake(
        "a request's own rate",
        lambda *a: _fastest(*a, told=lambda n, bandwidth, w, kv: bandwidth / (w + kv)),
        "The rate of the server: one token for every request in each step.",
        loses=(NAMES[2], NAMES[4]),
    ),
    Mistake(
        "memory and pace exchanged",
        lambda *a: _fastest(*a, names=("pace", "memory")),
        "The limit is what allows fewer requests.",
        loses=NAMES[3:],
    ),
    Mistake(
        "a tie given to the pace",
        lambda *a: _fastest(*a, tie="pace"),
        "Where both allow the same number, say memory.",
        loses=NAMES[4:],
    ),
    Mistake(
        "an empty server",
        lambda *a: _fastest(*a, none={"bits": [4, 4], "requests": 0, "rate": 0.0, "limit": "memory"}),
        "Where no pair of bits serves a single request, there is no such server: return None.",
        loses=NAMES[4:],
    ),
    Mistake(
        "the last of equal rates",
        lambda *a: _fastest(*a, pick=lambda found: [max(found[::-1], key=lambda f: f[0]["rate"])] if found else []),
        "Of equal rates the first pair wins, in the order 16, 8, 4: replace only when the rate is higher.",
        loses=NAMES[4:],
    ),
]


def exercise(seed):
    a, b, c, d, e = draw(seed, (65, 90), (20, 60), (900, 1900), (40, 70), (3, 9))

    def case(name, params, kept, numbers, context, page, memory, bandwidth, pace, errors, most):
        model = {"params": params, "kept": kept, "numbers": numbers}
        load = {"context": context, "page": page, "pace": pace, "error": most}
        machine = {"memory": memory, "bandwidth": bandwidth}
        return Case(name, model, load, machine, *errors)

    steep, flat = [0, 5, 40], [0, 10, 30]
    rest, kept, numbers = a * 10**8, 5 * 10**8, 65_536
    w8, w4 = (2 * kept + rest * bits // 8 + rest // 64 for bits in (8, 4))
    small = (rest + kept, kept, numbers)
    cases = [
        case("little memory", *small, 16 * b + 1, 16, w8 + (w8 - w4) * 9 // 10, 10**13, 5, (flat, flat), 45),
        case("much memory", *small, 16 * c + 5, 64, 6 * w8, 10**13, 4, (flat, flat), 45),
        case("a high pace", *small, 256 * (c // 32) + 3, 256, 80 * 2**30, 55 * 10**9 * d, d, (steep, flat), 40),
        case("numbers that 32 does not divide", 10**9 + 77, 10**8 + 3, 5000 + e, 3333, 16, 6 * 2**30, 3 * 10**11, 20,
             (flat, steep), 42),
    ]  # fmt: skip
    cases.append(
        case("short texts in large pages", 345 * 10**6, 10**6, 65_536, 1280 + b, 4096, 1032 * 10**6, 10**12, 5,
             ([0, 20, 30], [0, 20, 30]), 35)
    )  # fmt: skip
    w44 = 2 * 10**6 + (10**7 - 10**6) // 2 + 2 * math.ceil((10**7 - 10**6) / 128)  # 4 bits for all but 10**6
    token = 1024 // 2 + 4 * 32
    ends = [
        case("the error is just met", 10**7, 10**6, 1024, 512, 16, 10**8, 10**9, 10, (flat, flat), 40),
        case("one request, just", 10**7, 10**6, 1024, 100, 16, w44 + 112 * token, 10**10, 1, (flat, flat), 60),
        case("a byte too little", 10**7, 10**6, 1024, 100, 16, w44 + 112 * token - 1, 10**10, 1, (flat, flat), 60),
        case("two caches of one size", 10**7, 10**6, 4, 512, 16, 10**8, 10**9, 10, (flat, [0, 0, 90]), 40),
        case("no pair is good enough", 10**7, 10**6, 1024, 100, 16, 10**9, 10**10, 1, ([5, 9, 30], [1, 9, 30]), 5),
        case("both allow three", 10**7, 10**6, 1024, 112, 16, w44 + 3 * 112 * token, 2 * (w44 + 3 * 112 * token), 2,
             (flat, flat), 60),
    ]  # fmt: skip
    return question(
        "ps08.q5",
        "The fastest server that is good enough",
        "fastest_server(model, load, machine, weight_errors, cache_errors): bits, requests, rate, and their limit.",
        fastest_server,
        properties=[
            agrees(NAMES[0], cases, "The highest rate within the error.", part="bits"),
            agrees(NAMES[1], cases, "Memory in pages, time in tokens.", part="requests"),
            agrees(NAMES[2], cases, "Requests over the time of a step.", points=0.5, part="rate", rtol=1e-9),
            agrees(NAMES[3], cases, "Whichever allows fewer.", points=0.5, part="limit"),
            agrees(NAMES[4], ends, "None where nothing serves one request.", rtol=1e-9),
        ],
        wrong=WRONG,
    )
