"""ch14.sees: which users see the candidate, the same ones every time."""

import hashlib

from course_lib.checks import Case, Exercise, Wrong, equals_reference, relation


def sees(user, share):
    number = int.from_bytes(hashlib.sha256(user.encode()).digest()[:8], "big")
    return number < share * 2**64


def _number(user, length=8, order="big", algorithm="sha256"):
    return int.from_bytes(hashlib.new(algorithm, user.encode()).digest()[:length], order) / 2 ** (8 * length)


def _remainder(user, share):
    return int.from_bytes(hashlib.sha256(user.encode()).digest()[:8], "big") % 100 < 100 * share


def _variant(number):
    def wrong(user, share):
        return number(user, share)

    return wrong


def _own_hash(user, share):
    return hash(user) % 2**32 < share * 2**32


def _own_hash_in_percent(user, share):
    return hash(user) % 100 < 100 * share


def _grows(run, user, share):
    before = False
    for k in range(11):
        now = run(user, k / 10)
        if before and not now:
            return f"{user!r} sees the candidate at a share of {(k - 1) / 10}, and no longer at {k / 10}."
        before = now
    return True


def _ends(run, user, share):
    if run(user, 0.0):
        return f"With a share of 0 {user!r} sees the candidate."
    return bool(run(user, 1.0)) or f"With a share of 1 {user!r} does not see the candidate."


def _is_the_share(run, user, share):
    if share not in (0.2, 0.5):
        return True
    n = sum(run(f"{user} {k}", share) for k in range(400))
    return abs(n / 400 - share) < 0.11 or f"Of 400 users {n} see the candidate; a share of {share} was asked."


USERS = ("ada", "grace", "Zoë", "ödön", "customer 187", *(f"customer {k}" for k in range(1, 16)))
FIRST = next(user for user in map("customer {}".format, range(1000)) if _number(user) < 0.003)
EXERCISE = Exercise(
    id="ch14.sees",
    title="Who sees the candidate",
    spec="sees(user, share): True for a share of users: the first 8 bytes of SHA-256 as a number below share · 2⁶⁴.",
    kind="build",
    stub='''
import hashlib  # noqa: F401


def sees(user, share):
    """True where the candidate answers this user: the first 8 bytes of SHA-256 of the name (UTF-8), read as a whole
    number with the most significant byte first, lie below share · 2⁶⁴. share is from 0.0 to 1.0.
    """
    ...
''',
    reference=sees,
    cases=[
        *(Case(f"{user}, {share}", user, share) for user in USERS for share in (0.05, 0.2, 0.5)),
        Case("ada, a hair below her number", "ada", _number("ada") * (1 - 2**-40)),
        Case("one of the very first", FIRST, 0.5),
    ],
    properties=[
        relation("a larger share keeps the smaller's users", _grows, "Nobody is sent back and forth while it grows."),
        relation("nobody at 0, everybody at 1", _ends, "The number lies from 0 to 2⁶⁴ − 1."),
        relation("the share is the share", _is_the_share, "Of 400 names, within 4.4 standard deviations."),
        equals_reference(why="True or False, the same in every process and on every machine."),
    ],
    wrong=[
        Wrong(
            "Python's own hash",
            _own_hash,
            "hash() of a string is salted anew in every process: after a restart everybody would be dealt out again.",
        ),
        Wrong(
            "Python's own hash, in percent",
            _own_hash_in_percent,
            "Salted, too: another process has another hash() for the same name. SHA-256 is the same for all of them.",
        ),
        Wrong(
            "the least significant byte first",
            _variant(lambda user, share: _number(user, order="little") < share),
            'The bytes were read the other way round. Any order would do, but all routers must use one: "big".',
        ),
        Wrong(
            "all 32 bytes below 2⁶⁴",
            _variant(lambda user, share: _number(user, length=32) * 2**192 < share),
            "All 32 bytes make a number up to 2²⁵⁶, and hardly any of them lies below 2⁶⁴. Take the first 8.",
        ),
        Wrong(
            "a remainder by 100",
            _remainder,
            "Whole percents by their remainder: evenly spread, but other users, and 0.1 % cannot be said. Compare with "
            "share · 2⁶⁴.",
        ),
        Wrong(
            "one byte",
            _variant(lambda user, share: _number(user, length=1) < share),
            "One byte has 256 values, so a share of 0.1 % would be 0.4 % or nothing. Take 8 bytes.",
        ),
        Wrong(
            "eight hexadecimal digits",
            _variant(lambda user, share: _number(user, length=4) < share),
            "Four bytes: hexdigest() has two digits for each. Take 16 of them, or 8 bytes of digest().",
        ),
        Wrong(
            "eight hexadecimal digits below 2⁶⁴",
            _variant(lambda user, share: _number(user, length=4) / 2**32 < share),
            "Eight hexadecimal digits are four bytes, a number below 2³²: nearly all users lie below share · 2⁶⁴.",
        ),
        Wrong(
            "half of the numbers",
            _variant(lambda user, share: _number(user) < share / 2),
            "Eight bytes reach up to 2⁶⁴, and so must the limit at a share of 1.",
        ),
        Wrong(
            "share in percent",
            _variant(lambda user, share: _number(user) < share / 100),
            "share is a fraction already: at 1.0 everybody sees the candidate.",
        ),
        Wrong(
            "the rest of the users",
            _variant(lambda user, share: _number(user) >= share),
            "The other way round: these are the users who do not see it.",
        ),
        Wrong(
            "the share is in the hash",
            _variant(lambda user, share: _number(f"{user}{share}") < share),
            "The share was hashed along with the name. When it grows, everybody is dealt out again.",
        ),
        Wrong(
            "another hash",
            _variant(lambda user, share: _number(user, algorithm="md5") < share),
            "Evenly spread, but not SHA-256: another router would send the same user elsewhere.",
        ),
        Wrong(
            "the length of the name",
            _variant(lambda user, share: len(user.encode()) % 10 < 10 * share),
            "Names are not evenly long. A hash spreads whatever they are.",
        ),
        Wrong(
            "the last eight bytes",
            lambda user, share: int.from_bytes(hashlib.sha256(user.encode()).digest()[-8:], "big") < share * 2**64,
            "[-8:] are the last eight bytes of 32. All routers agreed on the first: [:8].",
        ),
    ],
    hints=[
        "hashlib.sha256(…).digest() gives 32 bytes, evenly spread. int.from_bytes makes a number of some of them.",
        "share 0.5 asks whether the number lies in the lower half: below 0.5 · 2⁶⁴.",
        '    number = int.from_bytes(hashlib.sha256(user.____()).digest()[:____], "____")\n'
        "    return number < ____ * 2**64",
    ],
    passed="Sticky: a customer does not meet two bots in one afternoon, whichever router he comes through.",
)
