"""Call one answer on the cases, and give its results to the properties in the form that the reference has."""

import inspect

from course_lib.checks import compare, plain, run
from course_lib.checks.verdict import Failed, Failure


class Runner:
    """Calls one answer for the properties: `run(*args)`, or `run.case(case)`, which remembers. Both raise `Failed`."""

    def __init__(self, exercise, answer, clock):
        self.exercise, self.clock = exercise, clock
        self.fn = answer if exercise.takes_function else lambda: answer
        self.cases = sorted(exercise.cases or [_Whole()], key=lambda c: plain.size(c.args) + plain.size(c.kwargs))
        self._outcomes, self._expected, self.printed = {}, {}, ""
        self.stopped: Failure | None = None  # set when the time limit ended a call

    def outcome(self, case) -> run.Outcome:
        """What the answer did on a case (run once)."""
        if id(case) not in self._outcomes:
            self._outcomes[id(case)] = self._run(case.args, case.kwargs)
        return self._outcomes[id(case)]

    def _run(self, args, kwargs) -> run.Outcome:
        outcome = run.call(self.fn, args, kwargs, self.clock.left(), self.clock.seconds)
        self.printed = self.printed or outcome.printed
        if outcome.kind == "timeout":
            self.stopped = Failure(f"Your function {outcome.error}.", inputs=self.inputs(args, kwargs))
        return outcome

    def expected(self, case):
        """What the reference gives on a case."""
        if id(case) not in self._expected:
            self._expected[id(case)] = self.reference(*case.args, **case.kwargs)
        return self._expected[id(case)]

    def reference(self, *args, **kwargs):
        """The reference's answer, as plain data."""
        reference = self.exercise.reference
        return plain.plain(reference(*plain.fresh(args), **plain.fresh(kwargs)) if callable(reference) else reference)

    def case(self, case, part: str | None = None):
        """The answer on a case, of the right type, shape and dtype; part: the one entry of a dict that must be so."""
        form = self.expected(case)
        if self.exercise.kind == "break":  # an input of the learner's own choice, as large as they like
            form = compare.shapeless(form)
        return self._checked(self.outcome(case), case.args, case.kwargs, form, case.name, part)

    def call(self, args, kwargs, part: str | None = None):
        """The answer on other arguments, likewise."""
        return self._checked(self._run(args, kwargs), args, kwargs, self.reference(*args, **kwargs), "", part)

    def __call__(self, *args, **kwargs):
        return self.call(args, kwargs)

    def _checked(self, outcome, args, kwargs, expected, name, part):
        what, answer = "", {}
        if outcome.kind == "unreadable":
            kind = "returns the wrong kind of result" if self.exercise.takes_function else "is of the wrong kind"
            what = f"{kind}: expected {compare.wanted(expected)}, got {outcome.error}"
        elif outcome.kind != "value":
            what = outcome.error
        else:
            got = outcome.value
            if part is not None and isinstance(got, dict) and got.keys() == expected.keys():
                got, expected = {part: got[part]}, {part: expected[part]}
            try:
                return compare.fit(got, expected)
            except compare.Mismatch as err:
                kind = "returns the wrong kind of result" if self.exercise.takes_function else "is of the wrong kind"
                size = isinstance(err, compare.OtherSize)
                what = f"{'returns a list of another length' if size and type(got) is list else kind}: {err}"
                answer = dict(got=outcome.value, expected=expected, has_answer=True, only_size=size)
        subject = "Your function" if self.exercise.takes_function else "Your answer"
        raise Failed(Failure(f"{subject} {what}.", name, self.inputs(args, kwargs), **answer))

    def inputs(self, args, kwargs) -> dict:
        """The arguments by name, for a counter-example."""
        if not self.exercise.takes_function:
            return {}
        bound = inspect.signature(self.exercise.reference).bind(*args, **kwargs)
        return dict(bound.arguments)

    def fail(self, case, message: str, **more):
        """End a property with a counter-example."""
        raise Failed(Failure(message, case.name, self.inputs(case.args, case.kwargs), shows_values=True, **more))


class _Whole:
    """The single case of an exercise whose answer is a value."""

    name, args, kwargs = "", (), {}
