"""Judge an answer: run it on the cases, test the named properties, name the likely mistake."""

from course_lib.checks import attempt, run
from course_lib.checks.diagnose import diagnose
from course_lib.checks.runner import Runner
from course_lib.checks.verdict import FAIL, NOT_ATTEMPTED, PASS, Failed, Failure, Grade, Judgement, Verdict


def judge(exercise, answer, seconds: float | None = None) -> Judgement:
    """Check an answer; nothing is shown or saved."""
    answer = exercise.as_function(answer)
    early = attempt.problem(exercise, answer)
    if early is not None:
        return early
    runner = Runner(exercise, answer, run.Clock(seconds))
    early = attempt.empty(exercise, answer, runner)
    if early is not None:
        return early
    verdicts = [_test(p, runner) for p in exercise.properties] + [_untouched(runner)]
    if runner.stopped and not any(v.ok is False for v in verdicts):
        verdicts.insert(0, Verdict("ends in time", False, "A loop has to reach its end.", failure=runner.stopped))
    state = PASS if all(v.ok for v in verdicts) else FAIL
    told = exercise.tells(answer) if state == PASS and exercise.tells else ""
    judgement = Judgement(state, told, verdicts, printed=runner.printed)
    if state == FAIL:
        shown = judgement.first.failure
        judgement.diagnosis = diagnose(exercise, runner, shown.case if shown else "")
    return judgement


def _test(prop, runner) -> Verdict:
    verdict = Verdict(prop.name, True, prop.why, prop.points)
    if runner.clock.left() <= 0:
        verdict.ok = None
        return verdict
    try:
        said = prop.test(runner)
        if said is not None and said is not True:
            message = said if isinstance(said, str) else "This does not hold for your answer."
            raise Failed(Failure(message, shows_values=True))
    except Failed as err:
        verdict.ok, verdict.failure = False, err.failure
    return verdict


def _untouched(runner) -> Verdict:
    """The property that comes free with every exercise: a function leaves its arguments as they were."""
    verdict = Verdict("leaves its inputs unchanged", True, "Other code still needs the weights that you were given.")
    for case in runner.cases:
        if runner.clock.left() > 0 and runner.outcome(case).mutated:
            names = list(runner.inputs(case.args, case.kwargs))
            which = [names[m] if isinstance(m, int) else m for m in runner.outcome(case).mutated]
            told = f"Your function changes its input {' and '.join(which)}: work on a copy, or on a new tensor."
            verdict.ok = False
            verdict.failure = Failure(told, case.name, runner.inputs(case.args, case.kwargs))
            break
    return verdict


def grade(exercise, answer, seconds: float | None = None) -> list[Grade]:
    """One line for each declared property, with its share of the exercise's points."""
    result = judge(exercise, answer, seconds)
    total = sum(p.points for p in exercise.properties)
    named = {v.name: v for v in result.verdicts}
    lines = []
    for prop in exercise.properties:
        verdict = named.get(prop.name) or Verdict(prop.name, False, failure=result.first and result.first.failure)
        points = exercise.points * prop.points / total
        lines.append(Grade(prop.name, verdict.ok is True, _told(result, verdict), points))
    return lines


def _told(result: Judgement, verdict: Verdict) -> str:
    if result.state == NOT_ATTEMPTED:
        return "Not attempted."
    if verdict.ok is None:
        return "Not run: the time was up."
    if verdict.failure is None:
        return result.message
    return "The result differs on at least one case." if verdict.failure.shows_values else verdict.failure.message
