"""ch14.decide: the rule that promotes a canary, takes it back, or waits."""

from course_lib.checks import Case, Exercise, Wrong, equals_reference


def decide(pairs, planned, may_lose, errors):
    lost = sum(not candidate and incumbent for candidate, incumbent in pairs)
    won = sum(candidate and not incumbent for candidate, incumbent in pairs)
    if errors or lost - won > may_lose:
        return "roll back"
    return "promote" if len(pairs) >= planned else "wait"


def _variant(verdict):
    def wrong(pairs, planned, may_lose, errors):
        lost = sum(not candidate and incumbent for candidate, incumbent in pairs)
        won = sum(candidate and not incumbent for candidate, incumbent in pairs)
        return verdict(pairs, lost, won, planned, may_lose, errors)

    return wrong


def _usual(bad, enough):
    return "roll back" if bad else "promote" if enough else "wait"


def _on_the_way(pairs, planned, may_lose, errors):
    net = [sum(theirs - ours for ours, theirs in pairs[: k + 1]) for k in range(len(pairs))]
    return _usual(errors or any(n > may_lose for n in net), len(pairs) >= planned)


def _late(pairs, planned, may_lose, errors):
    return "wait" if len(pairs) < planned else decide(pairs, planned, may_lose, errors)


OK, LOST, WON, BOTH = (True, True), (False, True), (True, False), (False, False)
EXERCISE = Exercise(
    id="ch14.decide",
    title="Promote, take back, or wait",
    spec='decide(pairs, planned, may_lose, errors): "promote", "roll back" or "wait", after each pair of replies.',
    kind="build",
    stub='''
def decide(pairs, planned, may_lose, errors):
    """pairs: (candidate's reply good, incumbent's reply good) so far; planned: how many were fixed beforehand.

    "roll back" at once if the candidate left any request unanswered (errors) or has lost, net of what it won, more
    good replies than it may. "promote" once all planned pairs are there. Until then "wait".
    """
    ...
''',
    reference=decide,
    cases=[
        Case("nothing yet", [], 4, 1, 0),
        Case("it begins well", [OK, OK], 4, 1, 0),
        Case("all good", [OK] * 4, 4, 1, 0),
        Case("one lost", [OK, LOST, OK, OK], 4, 1, 0),
        Case("two lost, early", [LOST, LOST], 4, 1, 0),
        Case("two lost, one won", [LOST, LOST, WON, OK], 4, 1, 0),
        Case("wins alone", [WON, WON, WON, OK], 4, 1, 0),
        Case("hard requests, bad on both sides", [BOTH, BOTH, BOTH, OK], 4, 1, 0),
        Case("hard requests, not all there", [BOTH, BOTH, OK], 4, 1, 0),
        Case("lost after a request too hard for both", [BOTH, LOST], 4, 0, 0),
        Case("won first, then lost", [WON, LOST], 4, 0, 0),
        Case("lost first, then won", [LOST, WON], 4, 0, 0),
        Case("five of six", [OK] * 5, 6, 1, 0),
        Case("a died process", [OK, OK], 4, 1, 1),
        Case("a died process, at the end", [OK] * 4, 4, 1, 1),
        Case("two unanswered", [OK, OK], 4, 1, 2),
        Case("one unanswered, one lost", [LOST, OK], 4, 1, 1),
        Case("they only differ", [WON, LOST, WON, LOST], 4, 1, 0),
        Case("more than planned", [OK] * 5, 4, 1, 0),
        Case("lost in the last of more than planned", [LOST, OK, OK, OK, LOST], 4, 1, 0),
        Case("nothing may be lost", [OK, LOST], 4, 0, 0),
        Case("a long canary", [OK] * 58 + [LOST, LOST], 60, 2, 0),
    ],
    properties=[equals_reference(why="Three words.")],
    wrong=[
        Wrong(
            "promoted on the first good look",
            _variant(lambda p, lost, won, n, m, e: _usual(e or lost - won > m, len(p) > 0)),
            "Promoted before the planned pairs were there. Whoever may stop at any good moment finds one.",
        ),
        Wrong(
            "not in pairs",
            _variant(lambda p, lost, won, n, m, e: _usual(e or sum(not c for c, _ in p) > m, len(p) >= n)),
            "You counted all bad replies of the candidate. Requests that the incumbent fails, too, say nothing.",
        ),
        Wrong(
            "wins do not count",
            _variant(lambda p, lost, won, n, m, e: _usual(e or lost > m, len(p) >= n)),
            "Net of what it won: a reply that got right stands against one that went wrong.",
        ),
        Wrong(
            "errors overlooked",
            _variant(lambda p, lost, won, n, m, e: _usual(lost - won > m, len(p) >= n)),
            "A request without an answer makes no pair, so the pairs alone look perfect. Look at errors, too.",
        ),
        Wrong(
            "errors weighed like lost replies",
            _variant(lambda p, lost, won, n, m, e: _usual(e + lost - won > m, len(p) >= n)),
            "You add the errors to what was lost. may_lose is for replies that came; one that never came is too many.",
        ),
        Wrong(
            "a few errors allowed",
            _variant(lambda p, lost, won, n, m, e: _usual(e > m or lost - won > m, len(p) >= n)),
            "You allow as many errors as replies may be lost. A single unanswered request is enough: roll back.",
        ),
        Wrong(
            "the pair the other way round",
            _variant(lambda p, lost, won, n, m, e: _usual(e or won - lost > m, len(p) >= n)),
            "The candidate's reply comes first in a pair. You count what it won as lost.",
        ),
        Wrong(
            "only pairs that differ are counted",
            _variant(lambda p, lost, won, n, m, e: _usual(e or lost - won > m, lost + won >= n)),
            "The plan counts all pairs. One in which both are good says that nothing was lost there.",
        ),
        Wrong(
            "one too strict",
            _variant(lambda p, lost, won, n, m, e: _usual(e or lost - won >= m, len(p) >= n)),
            "may_lose may be lost: roll back only beyond it.",
        ),
        Wrong(
            "hopeless, and still waiting",
            _variant(
                lambda p, lost, won, n, m, e: "wait" if not e and len(p) < n else _usual(e or lost - won > m, True)
            ),
            "Too much was lost already, and more customers are sent there until the plan is full. Take it back now.",
        ),
        Wrong(
            "complete, so promoted",
            _variant(lambda p, lost, won, n, m, e: "promote" if len(p) >= n else _usual(e or lost - won > m, False)),
            "All planned pairs are there, and you promote before looking at what was lost. Ask for roll back first.",
        ),
        Wrong(
            "a candidate must be better",
            _variant(
                lambda p, lost, won, n, m, e: _usual(e or lost - won > m or (len(p) >= n and won <= lost), len(p) >= n)
            ),
            "It is smaller; it need not be better as well. Not worse beyond may_lose is enough.",
        ),
        Wrong(
            "exactly as many as planned",
            _variant(lambda p, lost, won, n, m, e: _usual(e or lost - won > m, len(p) == n)),
            "Replies come several at a time: there may be more pairs than planned. They are enough as well.",
        ),
        Wrong(
            "pairs beyond the plan overlooked",
            _variant(lambda p, lost, won, n, m, e: decide(p[:n], n, m, e)),
            "A pair that came late counts, too: look at all that are there, not at the first `planned`.",
        ),
        Wrong(
            "never promoted",
            _variant(lambda p, lost, won, n, m, e: "roll back" if e or lost - won > m else "wait"),
            'With all planned pairs there and little lost it is "promote": a canary has to end.',
        ),
        Wrong(
            "waits for all pairs in any case",
            _late,
            "What is decided already need not wait: roll back at once, however many pairs are still to come.",
        ),
        Wrong(
            "asked of the past",
            _on_the_way,
            "You roll back if it ever stood worse than allowed. Replies come several at a time; what counts is the sum "
            "of the pairs that are there now.",
        ),
        Wrong(
            "a win taken for a loss",
            _variant(lambda p, lost, won, n, m, e: _usual(e or abs(lost - won) > m, len(p) >= n)),
            "abs makes a candidate that won much look like one that lost much. Net: lost − won.",
        ),
        Wrong(
            "a share against a count",
            _variant(lambda p, lost, won, n, m, e: _usual(e or (lost - won) / n > m, len(p) >= n)),
            "may_lose is a number of replies. You compare it with a share of the plan.",
        ),
        Wrong(
            "rollback in one word",
            lambda *given: decide(*given).replace(" ", ""),
            'The right decision in another spelling. Other programs compare it with "roll back", in two words.',
        ),
        Wrong(
            "bad on both sides, counted as won",
            lambda pairs, *rest: decide([(ours or not theirs, theirs) for ours, theirs in pairs], *rest),
            "Where both replies are bad nobody has won. Won is a good reply where the incumbent's is bad.",
        ),
    ],
    hints=[
        "Count two kinds of pairs, those that only the candidate fails and those that only the incumbent fails.",
        "may_lose 1: two lost and one won are 1 net: still allowed. An error is not weighed at all.",
        "    lost = sum(not c and i for c, i in pairs)\n    won = ____\n"
        '    if errors or ____ > may_lose:\n        return "roll back"\n    return "promote" if ____ else "wait"',
    ],
    passed="The number of pairs was fixed before the first one. That is what makes their verdict worth something.",
)
