"""ch15.level: a rubric is a rule: which level does what somebody passed add up to?"""

from course_lib.checks import Case, Exercise, Wrong, equals_reference, relation


def level(passed, rubric):
    reached = rubric[0][0]
    for name, needed in rubric:
        if 3 * sum(each in passed for each in needed) < 2 * len(needed):
            break
        reached = name
    return reached


def _variant(enough=lambda have, needed: 3 * have >= 2 * needed, stop=True, count=None):
    count = count or (lambda passed, needed: sum(each in passed for each in needed))

    def wrong(passed, rubric):
        reached = rubric[0][0]
        for name, needed in rubric:
            if enough(count(passed, needed), len(needed)):
                reached = name
            elif stop:
                break
        return reached

    return wrong


def _next(passed, rubric):
    names = [name for name, _ in rubric]
    return names[min(names.index(level(passed, rubric)) + 1, len(names) - 1)]


def _of_all(passed, rubric):
    every = [each for _, needed in rubric for each in needed]
    share = sum(each in passed for each in every) / max(1, len(every))
    return rubric[min(int(share * len(rubric)), len(rubric) - 1)][0]


def _pooled(passed, rubric):
    reached, have, of = rubric[0][0], 0, 0
    for name, needed in rubric:
        have, of = have + sum(each in passed for each in needed), of + len(needed)
        if 3 * have < 2 * of:
            break
        reached = name
    return reached


def _place(passed, rubric):
    return [name for name, _ in rubric].index(level(passed, rubric))


def _more_never_hurts(run, passed, rubric):
    names = [name for name, _ in rubric]
    here = names.index(run(passed, rubric))
    for _, needed in rubric:
        for each in needed:
            if names.index(run([*passed, each], rubric)) < here:
                return f"With {each!r} passed as well, the level falls."
    return True


RUBRIC = [("A", []), ("B", ["b1", "b2", "b3"]), ("C", ["c1", "c2", "c3"]), ("D", ["d1", "d2"])]
FOUR = [("none", []), ("some", ["f1", "f2", "f3", "f4"])]
FIVE = [("none", []), ("some", ["e1", "e2", "e3", "e4", "e5"])]
SIX = [("none", []), ("some", ["g1", "g2", "g3", "g4", "g5", "g6"])]

EXERCISE = Exercise(
    id="ch15.level",
    title="A rubric that adds up",
    spec="level(passed, rubric): the highest level whose evidence, and that of every level below, is two thirds there.",
    kind="design",
    stub='''
def level(passed, rubric):
    """The name of the level that somebody has reached who passed the exercises in the list `passed`.

    rubric is [(name, [exercises that show it]), …], lowest first; the first needs nothing. A level counts when at
    least two thirds of its exercises are passed, and all levels below count, too.
    """
    ...
''',
    reference=level,
    piece="level",
    cases=[
        Case("nothing passed", [], RUBRIC),
        Case("one of three", ["b1"], RUBRIC),
        Case("two of three", ["b1", "b3"], RUBRIC),
        Case("one more of the next", ["b1", "b2", "c3"], RUBRIC),
        Case("all of two levels", ["b1", "b2", "b3", "c1", "c2", "c3"], RUBRIC),
        Case("a gap below", ["c1", "c2", "c3", "d1", "d2"], RUBRIC),
        Case("three of four", ["f1", "f2", "f4"], FOUR),
        Case("two of four", ["f1", "f3"], FOUR),
        Case("two of five", ["e1", "e3"], FIVE),
        Case("three of five", ["e1", "e3", "e4"], FIVE),
        Case("three of six", ["g1", "g3", "g6"], SIX),
        Case("half of two", ["b1", "b2", "c1", "c2", "d2"], RUBRIC),
        Case("everything", ["b1", "b2", "b3", "c1", "c2", "c3", "d1", "d2"], RUBRIC),
        Case("exercises that no level asks for", ["x", "y", "z", "b1"], RUBRIC),
    ],
    properties=[
        relation("one more pass never costs a level", _more_never_hurts, "A rubric must be monotone."),
        equals_reference(why="One name is right."),
    ],
    wrong=[
        Wrong(
            "gaps jumped over",
            _variant(stop=False),
            "You skip a level that is not reached and look at the next. Strong without Solid is not Strong: stop.",
        ),
        Wrong(
            "more than two thirds",
            _variant(enough=lambda have, needed: needed == 0 or 3 * have > 2 * needed),
            "Two of three is enough: at least two thirds, not more than that.",
        ),
        Wrong(
            "all of them",
            _variant(enough=lambda have, needed: have == needed),
            "You ask for every exercise. Two thirds of them are enough.",
        ),
        Wrong(
            "one is enough",
            _variant(enough=lambda have, needed: have >= 1 or needed == 0),
            "One exercise of a level is no evidence for it. Two thirds of them are.",
        ),
        Wrong(
            "half is enough",
            _variant(enough=lambda have, needed: 2 * have >= needed),
            "Half is not two thirds.",
        ),
        Wrong(
            "two thirds, rounded",
            _variant(enough=lambda have, needed: have >= round(2 * needed / 3)),
            "Two thirds of five are 3.33, and three are fewer. Compare 3 · passed with 2 · asked, or round up.",
        ),
        Wrong(
            "two thirds, rounded down",
            _variant(enough=lambda have, needed: have >= 2 * needed // 3),
            "Rounded down, two of four and three of five pass, and both are less than two thirds. Round up.",
        ),
        Wrong(
            "most of them",
            _variant(enough=lambda have, needed: needed == 0 or 2 * have > needed),
            "Three of five are more than half and less than two thirds: four are needed.",
        ),
        Wrong(
            "two, whatever is asked",
            _variant(enough=lambda have, needed: have >= min(2, needed)),
            "Two are enough of three only. Two thirds of five are four.",
        ),
        Wrong(
            "any passes, whichever",
            _variant(count=lambda passed, needed: min(len(passed), len(needed))),
            "You count passed exercises, whether or not the level asks for them.",
        ),
        Wrong(
            "the next level",
            _next,
            "That is the level that comes next. Asked is the highest one that is reached.",
        ),
        Wrong(
            "a share of everything",
            _of_all,
            "Twenty exercises on one subject do not make up for none on another: each level is judged by its own.",
        ),
        Wrong(
            "levels pooled",
            _pooled,
            "You add up the evidence of all levels so far. What is more than enough below does not count for the next.",
        ),
        Wrong(
            "its place",
            _place,
            "Asked is the level's name, not its place in the list.",
        ),
    ],
    hints=[
        "Climb from the lowest. At each level: is two thirds of its evidence there? If not, stop.",
        "B asks for b1, b2, b3; passed are b1 and b3: 3 · 2 ≥ 2 · 3, so B counts. C has none: stop at B.",
        "    reached = rubric[0][0]\n    for name, needed in rubric:\n        if 3 * ____ < 2 * ____:\n"
        "            ____\n"
        "        reached = ____\n    return reached",
    ],
    passed="A rubric that a program can apply can be argued with: move an exercise, and see whose level changes.",
)
