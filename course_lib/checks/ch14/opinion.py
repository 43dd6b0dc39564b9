"""ch14.opinion: well or ill, from a row of health checks, without fluttering."""

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law


def opinion(checks, up, down):
    well, against, history = True, 0, []
    for ok in checks:
        against = 0 if ok == well else against + 1
        if against == (down if well else up):
            well, against = ok, 0
        history.append(well)
    return history


def _last(checks, up, down):
    return list(checks)


def _not_in_a_row(checks, up, down):
    well, against, history = True, 0, []
    for ok in checks:
        against += ok != well
        if against == (down if well else up):
            well, against = ok, 0
        history.append(well)
    return history


def _exchanged(checks, up, down):
    return opinion(checks, down, up)


def _one_late(checks, up, down):
    return opinion(checks, up + 1, down + 1)


def _before(checks, up, down):
    return [True, *opinion(checks, up, down)][: len(checks)]


def _no_recovery(checks, up, down):
    history = opinion(checks, up, down)
    return [all(history[: k + 1]) for k in range(len(history))]


def _starts_ill(checks, up, down):
    well, against, history = False, 0, []
    for ok in checks:
        against = 0 if ok == well else against + 1
        if against == (down if well else up):
            well, against = ok, 0
        history.append(well)
    return history


def _count_kept(checks, up, down):
    well, against, history = True, 0, []
    for ok in checks:
        against = 0 if ok == well else against + 1
        if against >= (down if well else up):
            well = ok
        history.append(well)
    return history


def _half_repaired(mended, in_a_row, anew):
    """The stub with one or two of its three faults mended: the count compared, the run, the count after a turn."""

    def wrong(checks, up, down):
        well, against, history = True, 0, []
        for ok in checks:
            against = 0 if in_a_row and ok == well else against + (ok != well)
            if against == (down if mended and well else up):
                well, against = ok, 0 if anew else against
            history.append(well)
        return history

    return wrong


def _quick_recovery(checks, up, down):
    return opinion(checks, 1, down)


def _runs(got, checks, up, down):
    before = True
    for k, now in enumerate(got):
        need = down if before else up
        if now != before and checks[max(0, k + 1 - need) : k + 1] != [now] * need:
            return f"After check {k + 1} the opinion turns to {now}, without {need} such checks in a row before."
        before = now
    return True


EXERCISE = Exercise(
    id="ch14.opinion",
    title="One late answer is no illness",
    spec="opinion(checks, up, down): after each check, is the server well? `down` failures turn it, `up` back.",
    kind="repair",
    stub='''
def opinion(checks, up, down):
    """After each check (True: answered), whether the server counts as well; it does in the beginning.

    It turns ill after `down` failed checks in a row, and well again after `up` good ones in a row.
    """
    well, against, history = True, 0, []
    for ok in checks:
        against += ok != well
        if against == up:
            well = ok
        history.append(well)
    return history
''',
    reference=opinion,
    piece="opinion",
    cases=[
        Case("all is well", [True, True, True], 2, 3),
        Case("one late answer", [True, False, True], 2, 3),
        Case("failures apart", [False, True, False, True, False, True], 2, 3),
        Case("three in a row", [True, False, False, False], 2, 3),
        Case("and back", [False, False, False, True, True, True], 2, 3),
        Case("a false recovery", [False, False, False, True, False, True, True], 2, 3),
        Case("down, up, down", [False, False, True, True, True, False, False], 3, 2),
        Case("no patience", [False, True, False], 1, 1),
        Case("slow to trust", [False, True, True, True, True], 4, 1),
        Case("nothing yet", [], 2, 3),
    ],
    properties=[
        law("turns only after a full run", _runs, "Hysteresis: the opinion lags behind the checks on purpose."),
        equals_reference(why="True or False."),
    ],
    wrong=[
        Wrong(
            "the last check decides",
            _last,
            "That is the checks themselves. A server that answers late once would be taken out, and put back a second "
            "later.",
        ),
        Wrong(
            "not in a row",
            _not_in_a_row,
            "A check that agrees with the opinion sets the count back to 0: three failures in a month are no run.",
        ),
        Wrong(
            "up and down exchanged",
            _exchanged,
            "A well server turns after `down` failures, an ill one after `up` good checks, not the other way round.",
        ),
        Wrong(
            "`up` both ways",
            lambda checks, up, down: opinion(checks, up, up),
            "A well server turns ill after `up` failures here. On the way down it is `down` of them.",
        ),
        Wrong(
            "`down` both ways",
            lambda checks, up, down: opinion(checks, down, down),
            "An ill server comes back after `down` good checks here. On the way up it is `up` of them.",
        ),
        Wrong(
            "one check late",
            _one_late,
            "It turns with the check that completes the run, not with the one after it.",
        ),
        Wrong(
            "the opinion before the check",
            _before,
            "You noted what was thought before each check. Take it in first, then append.",
        ),
        Wrong(
            "no recovery",
            _no_recovery,
            "Once ill it stays so. After `up` good checks in a row it is well again.",
        ),
        Wrong(
            "ill in the beginning",
            _starts_ill,
            "It counts as well in the beginning: it has just been started and has answered.",
        ),
        Wrong(
            "the count is kept",
            _count_kept,
            "After a turn the count starts anew. With the old one a single check would turn it back.",
        ),
        Wrong(
            "`up` and `down`, and two faults left",
            _half_repaired(True, False, False),
            "`up` and `down` are right now. Failures apart still add up, and the count is not set to 0 after a turn.",
        ),
        Wrong(
            "in a row, and two faults left",
            _half_repaired(False, True, False),
            "A good check ends a run of failures now. A well server still turns after `up` of them, not `down`, and "
            "after a turn the count does not start anew.",
        ),
        Wrong(
            "a count that starts anew, and two faults left",
            _half_repaired(False, False, True),
            "The count starts anew after a turn now. A well server still turns after `up` failures, not `down`, and "
            "failures apart still add up.",
        ),
        Wrong(
            "one fault left: the count after a turn",
            _half_repaired(True, True, False),
            "The checks that turned the opinion are still counted when the next run begins. Set the count to 0 there.",
        ),
        Wrong(
            "trusted at once",
            _quick_recovery,
            "One good check is not enough to come back: `up` of them in a row are.",
        ),
    ],
    hints=[
        "Three faults: which count is compared, when it goes back to 0, and what happens to it after a turn.",
        "up 2, down 3: False True False False False → True True True True False: the run began at the third check.",
        "        against = ____ if ok == well else against + 1\n"
        "        if against == (____ if well else ____):\n            well, against = ok, ____",
    ],
    passed="A router that believes every single check sends its customers back and forth.",
)
