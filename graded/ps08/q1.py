"""ps08.q1: pages for requests that begin alike"""

import math

from course_lib.checks import Case
from course_lib.grading import Mistake, agrees, question
from graded.ps08.draw import draw


def share_pages(requests, page):
    """Pages with and without sharing, how many pages are copied before somebody writes, and slots left empty."""
    families = {}
    for i, (name, prefix, own) in enumerate(requests):
        families.setdefault(i if name is None else name, []).append((prefix, own))
    shared = copies = stored = 0
    for members in families.values():
        full, begun = divmod(members[0][0], page)
        writers = [own for _, own in members if own > 0]
        kept = begun > 0 and len(writers) < len(members)  # somebody only reads the begun page
        shared += full + kept + sum(math.ceil((begun + own) / page) for own in writers)
        stored += full * page + kept * begun + sum(begun + own for own in writers)
        if begun and writers:
            copies += len(writers) - 1 + kept
    alone = sum(math.ceil((prefix + own) / page) for _, prefix, own in requests)
    return {"alone": alone, "shared": shared, "copies": copies, "empty": shared * page - stored}


def _up(n, page):
    return -(-n // page)


def _private(begun, own, page):
    return _up(begun + own, page)


def _share(requests, page, family=lambda i, name: (i, "") if name is None else name, up=_up, private=_private,
           keeps=lambda begun, readers: int(begun > 0 and readers > 0), writes=lambda own: own > 0,
           copied=lambda writers, kept, begun: writers - (not kept) if begun and writers else 0,
           empty=None):  # fmt: skip
    """The reference with one part changed; keeps(begun, readers): pages that stay for those who only read."""
    families = {}
    for i, (name, prefix, own) in enumerate(requests):
        families.setdefault(family(i, name), []).append((prefix, own))
    pages = copies = stored = 0
    for members in families.values():
        full, begun = members[0][0] // page, members[0][0] % page
        writing = [own for _, own in members if writes(own)]
        kept = keeps(begun, len(members) - len(writing))
        pages += full + kept + sum(private(begun, own, page) for own in writing)
        stored += full * page + kept * begun + sum(begun + own for own in writing)
        copies += copied(len(writing), kept, begun)
    alone = sum(up(prefix + own, page) for _, prefix, own in requests)
    left = pages * page - stored if empty is None else empty(alone, pages, requests, page)
    return {"alone": alone, "shared": pages, "copies": copies, "empty": left}


def _whole_prefix_shared(requests, page):
    got, families = share_pages(requests, page), {}
    for i, (name, prefix, own) in enumerate(requests):
        families.setdefault(i if name is None else name, []).append((prefix, own))
    pages = sum(_up(m[0][0], page) + sum(_up(own, page) for _, own in m) for m in families.values())
    return got | {"shared": pages, "copies": 0}


def _nothing_shared(requests, page):
    got = share_pages(requests, page)
    return got | {"shared": got["alone"], "copies": 0}


NAMES = ("each for itself", "a prefix of whole pages", "a page that is begun", "copies", "empty slots")

WRONG = [
    Mistake(
        "nothing shared",
        _nothing_shared,
        "Pages that all requests of a name fill with the same tokens are stored once.",
        loses=NAMES[1:4],
    ),
    Mistake(
        "the begun page shared while it is written",
        _whole_prefix_shared,
        "Two requests cannot write different tokens into one page: the begun page is copied first, then filled up.",
        loses=NAMES[2:4],
    ),
    Mistake(
        "own tokens on a fresh page",
        lambda *a: _share(*a, private=lambda begun, own, page: (begun > 0) + _up(own, page)),
        "After the copy the begun page has room left: the request's own tokens go on in it.",
        loses=(NAMES[2], NAMES[4]),
    ),
    Mistake(
        "readers copy, too",
        lambda *a: _share(*a, keeps=lambda begun, readers: readers if begun else 0),
        "A request that adds nothing only reads the begun page. All such requests read the same one.",
        loses=(NAMES[2], NAMES[4]),
    ),
    Mistake(
        "the original thrown away",
        lambda *a: _share(*a, keeps=lambda begun, readers: 0),
        "Somebody still reads the begun page as it was: it has to stay beside the copies.",
        loses=(*NAMES[2:4], NAMES[4]),
    ),
    Mistake(
        "a copy for every writer",
        lambda *a: _share(*a, copied=lambda writers, kept, begun: writers if begun else 0),
        "When the others have their copies, and nobody only reads, the last one writes into the page itself.",
        loses=NAMES[3:4],
    ),
    Mistake(
        "a copy less, always",
        lambda *a: _share(*a, copied=lambda writers, kept, begun: max(0, writers - 1) if begun else 0),
        "Where a request only reads the begun page, all those who write need a copy, the last one too.",
        loses=NAMES[3:4],
    ),
    Mistake(
        "copies of full pages",
        lambda *a: _share(*a, copied=lambda writers, kept, begun: max(0, writers - (not kept))),
        "A full page is never written again, so nobody copies it. Only a begun page is.",
        loses=NAMES[3:4],
    ),
    Mistake(
        "requests without a name share",
        lambda *a: _share(*a, family=lambda i, name: name),
        "None means: a prefix of its own. Two requests without a name have nothing in common.",
        loses=NAMES[1:4],
    ),
    Mistake(
        "a page too many where it is just full",
        lambda *a: _share(*a, up=lambda n, page: n // page + 1, private=lambda b, own, page: (b + own) // page + 1),
        "Exactly full is full: a sequence of two pages of tokens takes two pages, not three.",
        loses=(*NAMES[:3], NAMES[4]),
    ),
    Mistake(
        "empty slots of the unshared layout",
        lambda *a: _share(*a, empty=lambda alone, pages, rs, page: alone * page - sum(p + own for _, p, own in rs)),
        "Count the slots of the shared layout: its pages, less the tokens that stand in them.",
        loses=NAMES[4:],
    ),
    Mistake(
        "shared tokens counted once a request",
        lambda *a: _share(*a, empty=lambda alone, pages, rs, page: pages * page - sum(p + own for _, p, own in rs)),
        "A shared token stands in one slot, however many requests read it.",
        loses=NAMES[4:],
    ),
    Mistake(
        "own tokens counted by themselves",
        lambda *a: _share(*a, private=lambda begun, own, page: _up(own, page)),
        "The begun page holds prefix tokens already: begun + own tokens decide how many pages a request fills.",
        loses=(NAMES[2], NAMES[4]),
    ),
]


def exercise(seed):
    a, b, c, d, e, f = draw(seed, (2, 4), (1, 15), (3, 9), (1, 6), (20, 70), (5, 12))
    page = 16
    whole = [
        Case("three with two whole pages", [["sys", 32, 5], ["sys", 32, 16], ["sys", 32, e]], 16),
        Case("two names, and two without one", [["a", a * page, b], ["b", 48, 20], ["a", a * page, c],
                                                 [None, 32, 1], [None, 32, 16]], 16),
        Case("pages of eight", [["x", 8 * a, d], ["x", 8 * a, 8], [None, 24, f], ["x", 8 * a, 3 * f]], 8),
    ]  # fmt: skip
    begun = [
        Case("two go on in a begun page", [["s", 20, 3], ["s", 20, 12]], 16),
        Case("one only reads", [["s", 16 * a + 5, 11], ["s", 16 * a + 5, 0], ["s", 16 * a + 5, e]], 16),
        Case("two only read", [["s", 16 + c, 7], ["s", 16 + c, 0], ["s", 16 + c, 0], ["t", 9, 7], ["t", 9, f]], 16),
        Case("with and without names", [["s", 8 * a + d, 1], ["s", 8 * a + d, 8 - d], [None, 19, 5], [None, 19, 13],
                                        ["s", 8 * a + d, 2 * f]], 8),
        Case("nobody writes", [["s", 20 + d, 0], ["s", 20 + d, 0]], 16),
        Case("own tokens that do not fit behind the prefix", [["s", 16 * a + 5, 12], ["s", 16 * a + 5, 28]], 16),
    ]  # fmt: skip
    return question(
        "ps08.q1",
        "Pages for requests that begin alike",
        "share_pages(requests, page): pages alone and shared, pages copied before a write, slots left empty.",
        share_pages,
        properties=[
            agrees(NAMES[0], whole + begun, "Whole pages, rounded up.", points=0.5, part="alone"),
            agrees(NAMES[1], whole, "Full pages of a name once.", points=0.5, part="shared"),
            agrees(NAMES[2], begun, "Each writer its own copy, one for all who read.", part="shared"),
            agrees(NAMES[3], whole + begun, "Nobody copies what nobody else needs.", part="copies"),
            agrees(NAMES[4], whole + begun, "Slots less tokens, each token where it stands.", part="empty"),
        ],
        wrong=WRONG,
    )
