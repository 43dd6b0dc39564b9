"""Prove that the checks work: the stub is not attempted, the reference passes, every known-wrong answer is told apart.

`course exercises` lists the live exercises, `course exercises --prove` proves them. `problems(exercise)` is what a
problem set's own test calls.
"""

import argparse
import inspect

from course_lib.checks import launched, namespace, pieces, plain
from course_lib.checks.verdict import FAIL, NOT_ATTEMPTED, PASS

LEAST_WRONG = 4
HINTS = 3
LARGEST_EXAMPLE = 32  # numbers that a counter-example may show

LEARNER_SECONDS = 20.0


def problems(exercise, live: bool = True) -> list[str]:
    """What is wrong with an exercise, one sentence each; empty when its checks work."""
    found = _structure(exercise, live)
    try:
        found += _stub(exercise) + _reference(exercise) + _mistakes(exercise)
    except Exception as err:  # an error of the exercise's author: say so, and go on with the next exercise
        found.append(f"could not be run: {type(err).__name__}: {err}")
    return found


def _structure(exercise, live: bool) -> list[str]:
    found = []
    if len(exercise.wrong) < LEAST_WRONG:
        found.append(f"has {len(exercise.wrong)} known-wrong answers, at least {LEAST_WRONG} are needed")
    if live and len(exercise.hints) != HINTS:
        found.append(f"has {len(exercise.hints)} hints, not idea, smaller case, skeleton")
    if "\n" in exercise.spec:
        found.append("its spec is longer than one line")
    names = [w.name for w in exercise.wrong], [w.diagnosis for w in exercise.wrong]
    names += [p.name for p in exercise.properties], [c.name for c in exercise.cases]
    for kind, values in zip(("wrong answers", "diagnoses", "properties", "cases"), names, strict=True):
        twice = sorted({v for v in values if values.count(v) > 1})
        found += [f"two {kind} are called {name!r}" for name in twice]
    return found + _signature(exercise)


def _signature(exercise) -> list[str]:
    if not exercise.takes_function:
        return [] if exercise.solution_source else ["needs a solution_source, because its answer is a value"]
    stub = _run(exercise.stub, exercise)
    if inspect.signature(stub) != inspect.signature(exercise.reference):
        return [f"stub takes {inspect.signature(stub)}, reference {inspect.signature(exercise.reference)}"]
    if exercise.reference.__name__ != exercise.answer_name:
        return [f"its reference is called {exercise.reference.__name__}, its stub {exercise.answer_name}"]
    return []


def _run(source: str, exercise):
    scope = launched.names() if exercise.launch else {}
    exec(compile(source, f"<{exercise.id}>", "exec"), scope)
    return exercise.as_function(scope[exercise.answer_name])


def _stub(exercise) -> list[str]:
    state = exercise.judge(_run(exercise.stub, exercise)).state
    return [] if state == NOT_ATTEMPTED else [f"the stub gives {state!r}, not {NOT_ATTEMPTED!r}"]


def _reference(exercise) -> list[str]:
    found = []
    reference = exercise.reference
    if callable(reference) and not exercise.takes_function:
        reference = reference()
    judgement = exercise.judge(reference)
    if judgement.state != PASS:
        found.append(f"the reference fails: {judgement.first.name}: {judgement.first.failure.message}")
    earlier = {name: e.reference for e in namespace.every() if (name := e.piece) and e.id != exercise.id}
    alone = pieces.define(exercise, exercise.reference_source(), earlier)
    if exercise.judge(alone).state != PASS:
        found.append("the solution as shown to learners does not pass on its own")
    return found


def _mistakes(exercise) -> list[str]:
    found, failed = [], set()
    for wrong in exercise.wrong:
        judgement = exercise.judge(wrong.answer, LEARNER_SECONDS)
        if judgement.state != FAIL:
            found.append(f"the wrong answer {wrong.name!r} gives {judgement.state!r}")
            continue
        told = judgement.mistake.name if judgement.mistake else "nothing"
        if told != wrong.name:
            found.append(f"the wrong answer {wrong.name!r} is diagnosed as {told!r}")
        size = sum(plain.size(value) for value in judgement.first.failure.inputs.values())
        if size > LARGEST_EXAMPLE:
            found.append(f"the counter-example for {wrong.name!r} shows {size} numbers; add a smaller case")
        failed |= {v.name for v in judgement.verdicts if v.failure and (v.failure.shows_values or v.failure.has_answer)}
    idle = [p.name for p in exercise.properties if p.name not in failed]
    return found + [f"no wrong answer fails the property {name!r}, so nothing shows that it can fail" for name in idle]


def table(exercises, proven: bool) -> tuple[str, int]:
    """The table of exercises as text, and the number of problems found."""
    rows, told, count = [("exercise", "kind", "cases", "properties", "wrong", "proof" if proven else "title")], [], 0
    for exercise in exercises:
        found = problems(exercise) if proven else []
        last = exercise.title if not proven else f"{len(found)} problems" if found else "holds"
        numbers = [str(len(part)) for part in (exercise.cases, exercise.properties, exercise.wrong)]
        rows.append((exercise.id, exercise.kind, *numbers, last))
        told += [f"{exercise.id}: {problem}" for problem in found]
        count += len(found)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines + told), count


def main(argv=None) -> int:
    """`course exercises [--prove] [ch01 | ch01.round_trip …]`: 0 when every proof holds, else 1."""
    parser = argparse.ArgumentParser(prog="course exercises", description="List the live exercises of the course.")
    parser.add_argument("which", nargs="*", help="chapters (ch01) or exercises (ch01.round_trip); all by default")
    parser.add_argument("--prove", action="store_true", help="run stub, reference and every known-wrong answer")
    options = parser.parse_args(argv)
    try:
        chosen = _chosen(options.which)
    except AttributeError as err:
        print(f"course exercises: {err}")
        return 2
    text, count = table(chosen, options.prove)
    print(text)
    if options.prove:
        print(f"{len(chosen)} exercises, {count} problem{'s' * (count != 1)}")
    return 1 if count else 0


def _chosen(which: list[str]) -> list:
    if not which:
        return namespace.every()
    chosen = []
    for name in which:
        chosen += [namespace.find(name)] if "." in name else namespace.of_chapter(name)
    return chosen
