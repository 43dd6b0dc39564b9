"""Seven statements of what the course teaches, and five levels, added up from what the learner's checks show."""

from course_lib.checks import history, namespace, render
from course_lib.checks.verdict import NOT_ATTEMPTED, PASS

# what you can do, and which exercises (or whole chapters) show it
STATEMENTS = {
    "symmetric or asymmetric": (
        "I tell symmetric from asymmetric quantization, and say what scale and zero point do in each.",
        ("ch01", "ch02"),
    ),
    "GPTQ's second order": (
        "I explain why GPTQ looks at second-order information: it keeps a layer's output, not its weights.",
        ("ch06", "ch15.who_made"),
    ),
    "AWQ's protection": (
        "I describe how AWQ protects the channels that activations make important, and why it needs their statistics.",
        ("ch07", "ch05.smooth_scales", "ch05.fold", "ch05.best_alpha", "ch15.who_made"),
    ),
    "GGUF, a container": (
        "I explain GGUF as a portable container, and name the quantizers that may lie in it.",
        ("ch08", "ch09"),
    ),
    "calibration and groups": (
        "I predict what calibration text and group size do to quality.",
        ("ch04.per_group", "ch04.smallest_group", "ch06.hessian", "ch06.counterexamples", "ch09.importance"),
    ),
    "evaluation": (
        "I judge a quantized model by perplexity, by its task and by how it serves, together.",
        ("ch04.compare", "ch13", "ch14"),
    ),
    "weights, activations, cache": (
        "I keep apart the quantization of weights, of activations and of the KV cache.",
        ("ch05.int8_linear", "ch05.int_matmul", "ch10.fp8_rows", "ch11", "ch12.epilogue"),
    ),
}
# five levels, lowest first: what each means, and which exercises show it
RUBRIC = {
    "Needs work": ("You know the words. Why fewer bytes help is not shown yet.", ()),
    "Developing": (
        "You can quantize one tensor and say why reading fewer bytes saves time.",
        ("ch01", "ch02.parameters", "ch02.zero_range", "ch03.tokens_per_s", "ch03.weight_bytes"),
    ),
    "Solid": (
        "You size a model at 16, 8 and 4 bits with all that lies beside its weights, and fit it to a machine.",
        ("ch03.sizing", "ch03.mixed", "ch04.per_group", "ch08.offload", "ch08.tensor_info", "ch11.cache_bytes"),
    ),
    "Strong": (
        "You explain GPTQ and AWQ by what they protect, and why text and kernels decide what may be deployed.",
        ("ch06.hessian", "ch06.column_step", "ch06.counterexamples", "ch07", "ch12.dequantize", "ch12.gemv"),
    ),
    "Excellent": (
        "You design a gate of language, task and serving, with a fallback and an eye on the cache.",
        ("ch11.crossover", "ch11.pages", "ch13", "ch14"),
    ),
}


def evidence(entries) -> list[str]:
    """The ids behind entries such as "ch06" (all of the chapter) or "ch06.hessian", in the order of the course."""
    known = [e.id for e in namespace.every()]
    return [each for each in known if each in entries or each.split(".")[0] in entries]


def found() -> dict:
    """What the explorer takes: each exercise's state, each statement's and each level's exercises."""
    named = {entry for _, entries in (*STATEMENTS.values(), *RUBRIC.values()) for entry in entries}
    exercises = [e for e in namespace.every() if "ch01" <= e.chapter <= "ch14" or e.id in named]
    standings, counted = history.standings(), [e.id for e in exercises]
    states = {id: standings[id].state if id in standings else NOT_ATTEMPTED for id in counted}
    statements = [(name, evidence(entries)) for name, (_, entries) in STATEMENTS.items()]
    levels = [(name, evidence(entries)) for name, (_, entries) in RUBRIC.items()]
    return {"states": states, "statements": statements, "levels": levels}


class Mastery(render.Shown):
    """The learner's level, and each statement with how many of its exercises are passed unaided."""

    def __init__(self):
        from course_lib.viz.explorers.ch15_mastery import reached

        self.found = found()
        self.passed = {id for id, state in self.found["states"].items() if state == "passed"}
        self.level = reached(self.passed, self.found["levels"])

    def rows(self) -> list[tuple[str, str]]:
        """(how many of how many, the statement)."""
        counted = dict(self.found["statements"])
        return [
            (f"{sum(id in self.passed for id in counted[name])} of {len(counted[name])}", says)
            for name, (says, _) in STATEMENTS.items()
        ]

    def title(self) -> str:
        return f"Your level, as far as your checks show it: {self.level}"

    def following(self) -> str:
        """What the next level still wants."""
        names = list(RUBRIC)
        if self.level == names[-1]:
            return "There is no higher one. The rest is practice."
        name = names[names.index(self.level) + 1]
        open_ = [id for id in dict(self.found["levels"])[name] if id not in self.passed]
        return f"{name}: {RUBRIC[name][0]} Open there: {', '.join(f'`{id}`' for id in open_)}."

    def lines(self) -> list[str]:
        return [RUBRIC[self.level][0], self.following()]

    def text(self) -> str:
        return "\n".join([self.title(), *(f"  {count:9}{says}" for count, says in self.rows()), *self.lines()])

    def html(self) -> str:
        cells = (f"<td {render.CELL}>{count}</td><td {render.CELL}>{says}</td>" for count, says in self.rows())
        body = "".join(f'<tr style="background:none">{pair}</tr>' for pair in cells)
        table = f'<table style="border-collapse:collapse; color:{render.INK}"><tbody>{body}</tbody></table>'
        inside = f"<strong>{render.escape(self.title())}</strong>{table}"
        return render.box("Mastery", render.BARS[PASS], inside + "".join(map(render.paragraph, self.lines())))


def show() -> Mastery:
    """Show the level and the statements in a notebook."""
    return render.show(Mastery())
