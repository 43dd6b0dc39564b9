"""ch13.judge: the gate itself. Limits fixed beforehand, figures measured; which limits hold it shut?"""

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law


def judge(figures, limits):
    shut = []
    for key, limit in limits.items():
        name, side = key.rsplit("_", 1)
        value = figures.get(name)
        if value is None or not (value <= limit if side == "max" else value >= limit):
            shut.append(key)
    return shut


def _missing_passes(figures, limits):
    return [key for key in judge(figures, limits) if key.rsplit("_", 1)[0] in figures]


def _all_pass(figures, limits):
    return [key for key in _nan_passes(figures, limits) if key.rsplit("_", 1)[0] in figures]


def _zero_is_missing(figures, limits):
    return judge({name: value for name, value in figures.items() if value}, limits)


def _missing_first(figures, limits):
    return sorted(judge(figures, limits), key=lambda key: key.rsplit("_", 1)[0] in figures)


def _exchanged(figures, limits):
    shut = []
    for key, limit in limits.items():
        name, side = key.rsplit("_", 1)
        value = figures.get(name)
        if value is None or not (value >= limit if side == "max" else value <= limit):
            shut.append(key)
    return shut


def _any_max(figures, limits):
    shut = []
    for key, limit in limits.items():
        value = figures.get(key.rsplit("_", 1)[0])
        if value is None or not (value <= limit if "max" in key else value >= limit):
            shut.append(key)
    return shut


def _missing_is_zero(figures, limits):
    names = {key.rsplit("_", 1)[0]: 0.0 for key in limits}
    return judge(names | figures, limits)


def _parts(key):
    return key.split("_")


def _named_by(name_of):
    def answer(figures, limits):
        shut = []
        for key, limit in limits.items():
            value = figures.get(name_of(key))
            if value is None or not (value <= limit if key.endswith("_max") else value >= limit):
                shut.append(key)
        return shut

    return answer


def _looked_up(figures, limits):
    return judge({key.rsplit("_", 1)[0]: figures[key.rsplit("_", 1)[0]] for key in limits}, limits)


def _split_at_every(figures, limits):
    return [judge(figures, {f"{name}_{side}": limits[f"{name}_{side}"]}) for name, side in map(_parts, limits)]


def _nan_passes(figures, limits):
    shut = []
    for key, limit in limits.items():
        name, side = key.rsplit("_", 1)
        value = figures.get(name)
        if value is None or (value > limit if side == "max" else value < limit):
            shut.append(key)
    return shut


def _strict(figures, limits):
    shut = []
    for key, limit in limits.items():
        name, side = key.rsplit("_", 1)
        value = figures.get(name)
        if value is None or not (value < limit if side == "max" else value > limit):
            shut.append(key)
    return shut


def _all_are_max(figures, limits):
    shut = []
    for key, limit in limits.items():
        value = figures.get(key.rsplit("_", 1)[0])
        if value is None or not value <= limit:
            shut.append(key)
    return shut


def _first_only(figures, limits):
    return judge(figures, limits)[:1]


def _one_is_enough(figures, limits):
    shut = judge(figures, limits)
    return shut if len(shut) == len(limits) else []


def _open_ones(figures, limits):
    shut = judge(figures, limits)
    return [key for key in limits if key not in shut]


def _rounded(figures, limits):
    return judge({name: value if value != value else round(value, 1) for name, value in figures.items()}, limits)


def _names(figures, limits):
    return [key.rsplit("_", 1)[0] for key in judge(figures, limits)]


def _unmeasured(got, figures, limits):
    for key in limits:
        if key.rsplit("_", 1)[0] not in figures and key not in got:
            return f"{key} asks for a figure that nobody measured, and your gate lets it through."
    return True


SOURCE = {"accuracy_min": 0.90, "vram_gib_max": 8.0}

EXERCISE = Exercise(
    id="ch13.judge",
    title="The gate",
    spec="judge(figures, limits): the keys of the limits that hold the gate shut; [] opens it.",
    kind="build",
    stub='''
def judge(figures, limits):
    """Keys of `limits` that do not hold, in their order; an empty list means that the artifact may serve.

    limits: {"accuracy_min": 0.9, "vram_gib_max": 8.0}: the figure's name, then _min or _max; the limit itself is
    allowed. figures: {"accuracy": 0.92, …}. A figure that is missing, or not a number (NaN), holds no limit.
    """
    ...
''',
    reference=judge,
    piece="judge",
    cases=[
        Case("FP16", {"accuracy": 0.93, "p95_ms": 70.0, "vram_gib": 14.0}, SOURCE),
        Case("AWQ-4bit", {"accuracy": 0.92, "p95_ms": 49.0, "vram_gib": 4.1}, SOURCE),
        Case("aggressive-3bit", {"accuracy": 0.85, "p95_ms": 43.0, "vram_gib": 3.2}, SOURCE),
        Case("exactly at both limits", {"accuracy": 0.9, "vram_gib": 8.0}, SOURCE),
        Case("just below, as shown 90 %", {"accuracy": 0.8996, "vram_gib": 7.9}, SOURCE),
        Case("nobody measured the memory", {"accuracy": 0.95}, SOURCE),
        Case("nobody measured the accuracy", {"vram_gib": 1.0}, SOURCE),
        Case("not a number", {"kl": float("nan"), "top1": float("nan")}, {"kl_max": 0.1, "top1_min": 0.9}),
        Case("both are wrong", {"accuracy": 0.5, "vram_gib": 80.0}, SOURCE),
        Case("too low, and the memory not measured", {"accuracy": 0.5}, SOURCE),
        Case("a figure of 0", {"kl": 0.0}, {"kl_max": 0.1}),
        Case("the larger limit first", {"top1": 0.2, "kl": 3.0}, {"top1_min": 0.9, "kl_max": 0.1}),
        Case("a name with max in it", {"max_context": 900.0}, {"max_context_min": 512}),
        Case("a name that ends like a side", {"vram": 7.0}, {"vram_max": 8.0}),
        Case("a name with _max in it", {"gap_max_ms": 30.0}, {"gap_max_ms_max": 50.0}),
        Case("no limits", {"accuracy": 0.5}, {}),
    ],
    properties=[
        law("what nobody measured does not pass", _unmeasured, "A gate that opens by itself is none."),
        equals_reference(why="A list of keys, in the order of the limits."),
    ],
    wrong=[
        Wrong("missing passes", _missing_passes,
              "A figure that is missing passed. Then forgetting the test is the easiest way through the gate."),
        Wrong("missing and NaN pass", _all_pass,
              "A figure that is missing passed, and so did NaN. Ask whether the limit holds: all else is shut out."),
        Wrong("0 counts as missing", _zero_is_missing,
              "0.0 is a measured figure, but `not 0.0` is True. Ask for None: value is None."),
        Wrong("sorted", lambda figures, limits: sorted(judge(figures, limits)),
              "The keys come in the order of `limits`. You sorted them."),
        Wrong("missing ones first", _missing_first,
              "You list what is missing before what is broken. The keys come in the order of `limits`."),
        Wrong("the sides exchanged", _exchanged,
              "A _max is held by value <= limit, a _min by value >= limit. You have them the other way round."),
        Wrong("max anywhere in the key", _any_max,
              "max_context_min has max in its name and is a lower limit: look at what follows the last _."),
        Wrong("missing is zero", _missing_is_zero,
              "A missing figure became 0: that passes every _max. Nothing measured, nothing shown."),
        Wrong("NaN passes", _nan_passes,
              "NaN > limit is False, and so is NaN < limit. Ask whether the limit holds, not whether it is broken."),
        Wrong("the limit itself refused", _strict, "A limit is allowed itself: at most 8 means 8, too."),
        Wrong("rounded first", _rounded, "0.8996 is shown as 90 %, and is below 0.9. Compare what was measured."),
        Wrong("every limit an upper one", _all_are_max, "A _min asks for at least that much: value >= limit."),
        Wrong("only the first reason", _first_only,
              "You stop at the first limit that fails. Who has to mend the artifact wants to know them all."),
        Wrong("one open gate is enough", _one_is_enough,
              "All limits must hold. A small file does not make up for errors."),
        Wrong("the ones that hold", _open_ones, "You return the limits that hold. Asked are the others."),
        Wrong("names without the side", _names, "The keys are asked, _min or _max included: a figure may have both."),
        Wrong("split at the first _", _named_by(lambda key: key.split("_")[0]),
              'vram_gib_max is the figure "vram_gib" and the side "max": split at the last _.'),
        Wrong(
            "every figure taken for measured",
            _looked_up,
            "`figures[name]` ends with a KeyError where nobody measured. `figures.get(name)` gives None, which holds "
            "no limit.",
        ),
        Wrong(
            "letters stripped",
            _named_by(lambda key: key.strip("_min").strip("_max")),
            '`key.strip("_max")` takes the letters _, m, a and x off both ends: of accuracy it leaves ccuracy. '
            'key.rsplit("_", 1) takes off the side.',
        ),
        Wrong(
            "letters stripped at the right",
            _named_by(lambda key: key.rstrip("_min") if key.endswith("_min") else key.rstrip("_max")),
            '`key.rstrip("_max")` takes off every letter _, m, a and x at the end: of vram_max it leaves vr. '
            'key.rsplit("_", 1) takes off the side.',
        ),
        Wrong(
            "every _max taken out",
            _named_by(lambda key: key.replace("_min", "").replace("_max", "")),
            'A name may have _max in it: gap_max_ms. Take off the last part only: key.rsplit("_", 1).',
        ),
        Wrong(
            "split at every _",
            _split_at_every,
            'A name may have a _ itself. Only the last one ends it: key.rsplit("_", 1).',
        ),
    ],
    hints=[
        'key.rsplit("_", 1) gives the figure\'s name and its side. Then ask whether the limit holds; everything else '
        "shuts the gate.",
        "FP16: accuracy 0.93 ≥ 0.90 holds, 14 ≤ 8 does not: [\"vram_gib_max\"].",
        '    shut = []\n    for key, limit in limits.items():\n        name, side = key.rsplit("_", 1)\n'
        "        value = figures.get(name)\n        if value is None or not (____ if side == \"max\" else ____):\n"
        "            shut.append(____)\n    return shut",
    ],
    passed="Limits first, figures second, and what nobody measured stays outside.",
)  # fmt: skip
