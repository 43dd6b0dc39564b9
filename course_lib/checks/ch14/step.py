"""ch14.step: what serves after each event, and what can be brought back."""

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law


def step(state, event, name=None):
    new = dict(state)
    if event == "canary" and new["candidate"] is None:
        new["candidate"] = name
    elif event == "promote" and new["candidate"] is not None:
        new = {"serving": new["candidate"], "candidate": None, "previous": new["serving"]}
    elif event == "roll back" and new["candidate"] is not None:
        new["candidate"] = None
    elif event == "roll back" and new["previous"] is not None:
        new = {"serving": new["previous"], "candidate": None, "previous": None}
    return new


def _forgets(state, event, name=None):
    new = step(state, event, name)
    return new | {"previous": state["previous"]} if event == "promote" else new


def _overwritten(state, event, name=None):
    new = step(state, event, name)
    return new | {"previous": new["serving"]} if event == "promote" and state["candidate"] is not None else new


def _kept(state, event, name=None):
    new = step(state, event, name)
    return new | {"previous": state["previous"]} if event == "roll back" else new


def _keeps_candidate(state, event, name=None):
    new = step(state, event, name)
    if event == "promote" and state["candidate"] is not None:
        new["candidate"] = state["candidate"]
    return new


def _nothing(state, event, name=None):
    if event == "promote":
        return {"serving": state["candidate"], "candidate": None, "previous": state["serving"]}
    return step(state, event, name)


def _back_to_nothing(state, event, name=None):
    if event == "roll back" and state["candidate"] is None:
        return {"serving": state["previous"], "candidate": None, "previous": None}
    return step(state, event, name)


def _canary_stays(state, event, name=None):
    if event == "roll back" and state["previous"] is None:
        return dict(state)
    return _too_far(state, event, name)


def _nothing_returned(state, event, name=None):
    new = step(state, event, name)
    return None if new == state and event != "roll back" else new


def _too_far(state, event, name=None):
    if event == "roll back" and state["previous"] is not None:
        return {"serving": state["previous"], "candidate": None, "previous": None}
    return step(state, event, name)


def _to_and_fro(state, event, name=None):
    if event == "roll back" and state["candidate"] is None and state["previous"] is not None:
        return {"serving": state["previous"], "candidate": None, "previous": state["serving"]}
    return step(state, event, name)


def _exchanged(state, event, name=None):
    if event == "roll back" and state["candidate"] is None:
        return state | {"serving": state["previous"], "previous": state["serving"]}
    return step(state, event, name)


def _replaced(state, event, name=None):
    return state | {"candidate": name} if event == "canary" else step(state, event, name)


def _not_itself(state, event, name=None):
    return dict(state) if event == "canary" and name == state["serving"] else step(state, event, name)


def _at_once(state, event, name=None):
    if event == "canary" and state["candidate"] is None:
        return {"serving": name, "candidate": None, "previous": state["serving"]}
    return step(state, event, name)


def _only_canary(state, event, name=None):
    if event == "roll back":
        return state | {"candidate": None}
    return step(state, event, name)


def _serves(got, state, event, name=None):
    return got["serving"] is not None or "After this event nothing serves. That must never be."


def _state(serving, candidate=None, previous=None):
    return {"serving": serving, "candidate": candidate, "previous": previous}


EXERCISE = Exercise(
    id="ch14.step",
    title="The way back",
    spec="step(state, event, name): the state after one event; something always serves.",
    kind="build",
    stub='''
def step(state, event, name=None):
    """The new state, a dict {"serving", "candidate", "previous"} of artifacts' names or None.

    "canary": `name` becomes the candidate, if there is none. "promote": the candidate serves, what served becomes
    the previous one. "roll back": a candidate goes; without one the previous artifact serves again, and there is no
    previous one any more. An event that makes no sense in a state leaves it as it is.
    """
    ...
''',
    reference=step,
    cases=[
        Case("a canary begins", _state("f16"), "canary", "q4"),
        Case("a canary of what serves", _state("f16"), "canary", "f16"),
        Case("a second one", _state("f16", "q4"), "canary", "q3"),
        Case("promote", _state("f16", "q4"), "promote"),
        Case("promote, again later", _state("q4", "q3", "f16"), "promote"),
        Case("promote nothing", _state("f16"), "promote"),
        Case("a canary goes back", _state("f16", "q4"), "roll back"),
        Case("regretted", _state("q4", None, "f16"), "roll back"),
        Case("a canary after a promotion goes back", _state("q4", "q3", "f16"), "roll back"),
        Case("nothing to go back to", _state("f16"), "roll back"),
        Case("unknown", _state("f16", "q4"), "restart"),
        Case("a second one, after a promotion", _state("q4", "q3", "f16"), "canary", "q2"),
        Case("unknown, after a promotion", _state("q4", None, "f16"), "restart"),
        Case("a canary after a promotion", _state("q4", None, "f16"), "canary", "q3"),
    ],
    properties=[
        law("something serves", _serves, "Whatever happens, customers get answers."),
        equals_reference(why="Three names."),
    ],
    wrong=[
        Wrong(
            "what served is forgotten",
            _forgets,
            "Promoted, and what served until then is nowhere: there is no way back.",
        ),
        Wrong(
            "one name after the other",
            _overwritten,
            "serving is overwritten before it is copied to previous: by then it holds the candidate's name.",
        ),
        Wrong(
            "the way back stays",
            _kept,
            "It serves again, and is still noted as the previous one: it would be its own way back.",
        ),
        Wrong(
            "the candidate stays",
            _keeps_candidate,
            "After the promotion it serves; it is no candidate any more. A later roll back would take it for one.",
        ),
        Wrong(
            "promotes nothing",
            _nothing,
            "Promoted without a candidate, and now None serves. Such an event leaves the state as it is.",
        ),
        Wrong(
            "back to nothing",
            _back_to_nothing,
            "Rolled back without a previous artifact, and now None serves. Leave the state as it is.",
        ),
        Wrong(
            "a step too far",
            _too_far,
            "A canary was running: only the candidate goes. What serves has done nothing wrong.",
        ),
        Wrong(
            "to and fro",
            _to_and_fro,
            "After a roll back there is no previous one: a second roll back would bring the regretted one again.",
        ),
        Wrong(
            "two names exchanged",
            _exchanged,
            "serving and previous change places: the regretted one becomes the way back, and where there was no "
            "previous one, nothing serves.",
        ),
        Wrong(
            "one canary throws out the other",
            _replaced,
            "A canary is running. Its pairs would be mixed with another artifact's: the new one has to wait.",
        ),
        Wrong(
            "never against itself",
            _not_itself,
            "What serves may be its own candidate: that is the control, and nobody but a candidate is in its way.",
        ),
        Wrong(
            "served at once",
            _at_once,
            "A canary is a candidate beside what serves, not in its place.",
        ),
        Wrong(
            "no way back after a promotion",
            _only_canary,
            "Roll back without a candidate brings the previous artifact back. That is what it was kept for.",
        ),
        Wrong(
            "a candidate stays when all goes back",
            _canary_stays,
            "A roll back takes the candidate away first. You looked only at the previous artifact.",
        ),
        Wrong(
            "rollback in one word",
            lambda state, event, name=None: dict(state) if event == "roll back" else step(state, event, name),
            'Nothing happens at "roll back". It is written in two words.',
        ),
        Wrong(
            "a canary forgets the way back",
            lambda state, event, name=None: (
                step(state, event, name) | ({"previous": None} if event == "canary" else {})
            ),
            "A new candidate changes nothing about what served before: previous stays.",
        ),
        Wrong(
            "nothing returned where nothing changes",
            _nothing_returned,
            "Some ways through your function have no return, and None is no state. Return the state as it is there.",
        ),
    ],
    hints=[
        "Write one branch for each event, and ask in each whether the event makes sense. What is left is a copy.",
        "f16 serves, q4 is promoted, q3 is a canary and goes back: q4 serves, f16 is still the previous one.",
        '    new = dict(state)\n    if event == "canary" and ____ is None:\n        new["candidate"] = ____\n'
        '    elif event == "promote" and ____:\n        ...\n    return new',
    ],
    passed="A few lines, and no event, in whatever order, leaves the customers alone.",
)
