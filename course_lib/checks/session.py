"""What a learner's call does: check, show, remember. Hints and solutions are remembered too."""

from course_lib.checks import history, judge, pieces, render, store
from course_lib.checks.verdict import NOT_ATTEMPTED

HINTS = ("the idea", "a smaller case, worked", "a skeleton with blanks")


def check(exercise, answer):
    """Judge, save, show; returns the Result."""
    result = render.Result(exercise, judge.judge(exercise, answer))
    if result.state != NOT_ATTEMPTED:
        fields = dict(state=result.state, property=result.failed_property, mistake=result.mistake)
        result.notes += _save("attempt", exercise=exercise.id, **fields)
    if result.passed and exercise.piece:
        result.notes += _keep(exercise, exercise.as_function(answer))
    return render.show(result)


def _keep(exercise, answer) -> list[str]:
    try:
        return [pieces.keep(exercise, answer)]
    except (OSError, store.StoreError) as err:
        return [f"Your piece could not be saved: {err}."]


def _save(event: str, **fields) -> list[str]:
    """Append to the log; the sentence to show when that fails."""
    try:
        store.append(event, **fields)
        return []
    except store.StoreError as err:
        return [f"Note: {err}."]


def hint(exercise, number: int | None = None):
    """The next hint, or the one asked for; after the last, the last again. What is passed begins anew each day."""
    wanted = history.next_hint(exercise.id) if number is None else number
    number = max(1, min(wanted, len(exercise.hints)))
    notes = _save("hint", exercise=exercise.id, hint=number)
    kind = HINTS[number - 1] if len(exercise.hints) == len(HINTS) else ""
    title = f"{exercise.id}: hint {number} of {len(exercise.hints)}" + (f", {kind}" if kind else "")
    last = number == len(exercise.hints)
    text = ("code" if last else "text", exercise.hints[number - 1])
    more = f"After an attempt: `check.{exercise.id}.solution()`" if last else f"More: `check.{exercise.id}.hint()`"
    return render.show(render.Card(title, text, ("text", more), *[("text", n) for n in notes]))


def solution(exercise, now: bool = False):
    """The course's solution, once there was an attempt (or with now=True)."""
    standing = history.standing(exercise.id)
    if not (standing.attempts or now):
        at_once = f"`check.{exercise.id}.solution(now=True)`"
        told = f"Try it once first: `{exercise.check_line}`. Or read it at once: {at_once}"
        return render.show(render.Card(f"{exercise.id}: solution", ("text", told)))
    notes = _save("solution", exercise=exercise.id)
    title = f"{exercise.id}: solution" + ("" if standing.passed else " (marked as seen)")
    parts = [("code", exercise.reference_source())]
    if not standing.passed:
        parts.append(("text", "Close it, and write it again from memory: that is what counts later."))
    return render.show(render.Card(title, *parts, *[("text", n) for n in notes]))
