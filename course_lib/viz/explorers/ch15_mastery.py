"""Chapter 15: which exercises show which of the seven statements, and the level that they add up to."""

from dataclasses import dataclass

from course_lib.viz.controls import Choice, Slider
from course_lib.viz.explorer import Explorer
from course_lib.viz.scene import Scene

NAMES = ("symmetric or asymmetric", "GPTQ's second order", "AWQ's protection", "GGUF, a container",
         "calibration and groups", "evaluation", "weights, activations, cache")  # fmt: skip
COUNT = (("passed unaided", False), ("also with the solution read", True))
WIDTH, HEIGHT, TOP, ROW = 760, 494, 48, 24
MARKS_X, BARS_X, BAR = 92, 470, 200
# exercises that count, chapters 01 to 15, and which show each statement and level: a chapter, or chapter.place from 0
_EXERCISES = (5, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 1)
_STATEMENTS = ("01 02", "06 15", "05.2 05.3 05.4 07 15", "08 09", "04.0 04.3 06.1 06.5 09.4", "04.2 13 14",
               "05.0 05.1 10.2 11 12.5")  # fmt: skip
_LEVELS = (("Needs work", ""), ("Developing", "01 02.0 02.3 03.1 03.3"), ("Solid", "03.0 03.2 04.0 08.1 08.5 11.0"),
           ("Strong", "06.1 06.2 06.5 07 12.1 12.3"), ("Excellent", "11.2 11.5 13 14"))  # fmt: skip


def reached(passed, rubric):
    """The highest level of [(name, [exercises]), …] of which, and of all below, two thirds are in the set `passed`."""
    name = rubric[0][0]
    for level, needed in rubric:
        if 3 * sum(each in passed for each in needed) < 2 * len(needed):
            break
        name = level
    return name


def sample():
    """A made-up learner of chapters 01 to 07, in the form that `Mastery` takes; the exercises are the course's."""
    every = [f"ch{c:02d}.{k}" for c, n in enumerate(_EXERCISES, 1) for k in range(n)]
    done = [each for each in every if each < "ch08"]
    states = dict.fromkeys(every, "not attempted") | dict.fromkeys(done, "passed")
    states |= dict.fromkeys(done[5::9], "not yet") | dict.fromkeys(done[8::9], "passed, solution seen")
    of = lambda places: [e for e in every if e[2:] in places.split() or e[2:4] in places.split()]  # noqa: E731
    statements = [(name, of(places)) for name, places in zip(NAMES, _STATEMENTS, strict=True)]
    levels = [(name, of(places)) for name, places in _LEVELS]
    return {"states": states, "statements": statements, "levels": levels, "example": True}


@dataclass(frozen=True)
class Found:
    """What counts as passed, and what it adds up to: each statement's (passed, of), the level, the next one."""

    chosen: int | None
    upto: int
    passed: frozenset
    shares: tuple
    level: str
    following: str | None
    lacking: int  # exercises of the next level that are still to pass before it counts


class Mastery(Explorer):
    """A statement, what counts, and a supposition; marks, bars and the ladder."""

    name = "mastery"
    controls = (
        Choice("statement", "statement", (("all seven", None), *((n, k) for k, n in enumerate(NAMES))), None),
        Choice("seen", "what counts", COUNT, False),
        Slider("upto", "as if done up to", 0, 14, 1, 0, "d"),
    )

    def __init__(self, found=None, **start):
        """found: what `course_lib.checks.mastery.found()` returns; by default a made-up learner."""
        self.found = sample() if found is None else found
        missing = {"states", "statements", "levels"} - set(self.found)
        if missing or len(self.found["statements"]) != len(NAMES):
            raise ValueError("mastery(found): expected what mastery.found() returns, with seven statements")
        super().__init__(**start)

    def numbers(self, statement, seen, upto):
        good = {"passed", "passed, solution seen"} if seen else {"passed"}
        passed = {e for e, state in self.found["states"].items() if state in good or 1 <= int(e[2:4]) <= upto}
        shares = tuple((sum(e in passed for e in ids), len(ids)) for _, ids in self.found["statements"])
        levels = self.found["levels"]
        names = [name for name, _ in levels]
        level = reached(passed, levels)
        after = names.index(level) + 1
        following, needed = levels[after] if after < len(levels) else (None, [])
        lacking = -(-2 * len(needed) // 3) - sum(e in passed for e in needed)
        return Found(statement, upto, frozenset(passed), shares, level, following, lacking)

    def sentence(self, n):
        pretended = f"chapters 01 to {n.upto:02d} were" if n.upto > 1 else "chapter 01 was"
        what = f"As if {pretended} done: " if n.upto else ""
        if n.chosen is None:
            done, of = len(n.passed), len(self.found["states"])
            what += f"{done} of {of} exercises count. "
        else:
            done, of = n.shares[n.chosen]
            chapters = sorted({e[2:4] for e in self.found["statements"][n.chosen][1]})
            where = f"chapter{'s' * (len(chapters) > 1)} {', '.join(chapters)}"
            what += f"“{NAMES[n.chosen]}” is shown by {of} exercises of {where}; {done} count. "
        what += f"The level is {n.level}."
        if n.following:
            what += f" {n.following} wants {n.lacking} more exercise{'s' * (n.lacking != 1)} of its own."
        return what

    def draw(self, n):
        scene = Scene(WIDTH, HEIGHT)
        _marks(scene, n, self.found)
        _bars(scene, n)
        _ladder(scene, n, [name for name, _ in self.found["levels"]])
        return scene


def _mark(scene, x, y, state, counts):
    if counts:
        scene.circle(x, y, 7, "blue")
    elif state == "passed, solution seen":
        scene.circle(x, y, 6, None, "blue", 2).circle(x, y, 2.5, "blue")
    elif state in ("not yet", "solution seen"):
        scene.diamond(x, y, 7, None, "red", 2)
    else:
        scene.circle(x, y, 5, None, "muted", 1.3)


def _marks(scene, n, found):
    """One row a chapter, one mark an exercise; those of the chosen statement stand in a box."""
    whose = " (an example)" if found.get("example") else ""
    scene.text(10, 20, f"exercises, a row a chapter{whose}", size=14, bold=True, anchor="start")
    chosen = set(found["statements"][n.chosen][1]) if n.chosen is not None else set()
    rows = {}
    for each in found["states"]:
        rows.setdefault(each[:4], []).append(each)
    for chapter in range(1, 16):
        y = TOP + ROW * (chapter - 1)
        mine = rows.get(f"ch{chapter:02d}", [])
        scene.text(50, y + 5, f"{chapter:02d}", size=13, color="ink" if mine else "muted", anchor="end")
        for k, each in enumerate(mine):
            x = MARKS_X + 34 * k
            if each in chosen:
                scene.rect(x - 13, y - 11, 26, 22, fill="sky", color="ink", line=1.2)
            _mark(scene, x, y, found["states"][each], each in n.passed)
    y = TOP + ROW * 15 + 6
    legend = (("counts", "passed", True), ("solution read", "passed, solution seen", False),
              ("tried", "not yet", False), ("open", "not attempted", False))  # fmt: skip
    for (word, state, counts), x in zip(legend, (60, 140, 256, 322), strict=True):
        _mark(scene, x, y, state, counts)
        scene.text(x + 13, y + 4, word, size=12, color="muted", anchor="start")


def _bars(scene, n):
    """The seven statements: what share of their exercises counts."""
    scene.text(BARS_X - 130, 20, "the seven statements", size=14, bold=True, anchor="start")
    for k, (name, (done, of)) in enumerate(zip(NAMES, n.shares, strict=True)):
        y, x = TOP + 46 * k, BARS_X - 130
        bold = k == n.chosen
        scene.text(x, y - 4, f"{k + 1}  {name}", size=13, bold=bold, anchor="start")
        scene.rect(x, y + 3, BAR + 60, 14, color="muted", line=1)
        if done:
            scene.rect(x, y + 3, (BAR + 60) * done / of, 14, fill="orange" if bold else "blue")
        scene.text(x + BAR + 70, y + 15, f"{done} of {of}" if of else "no exercise", size=12, anchor="start")


def _ladder(scene, n, names):
    """The five levels: those reached are filled."""
    y, wide = HEIGHT - 52, 142
    at = names.index(n.level)
    for k, name in enumerate(names):
        x = 16 + 147 * k
        scene.rect(x, y, wide, 34, fill="blue" if k <= at else None, color="blue" if k <= at else "muted", line=1.6)
        scene.text(x + wide / 2, y + 22, name, size=14, color="paper" if k <= at else "muted", bold=k == at)


def mastery(found=None, **start):
    """The explorer of chapter 15: `mastery(found())`, or `mastery(statement=1, upto=7)` of a made-up learner."""
    return Mastery(found, **start)
