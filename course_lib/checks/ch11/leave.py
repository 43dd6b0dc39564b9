"""ch11.leave: which tokens leave the recent window, in whole blocks, oldest first."""

import torch

from course_lib.checks import Case, Exercise, Property, Wrong, equals_reference


def leave(recent, window, block):
    n = max(0, len(recent) - window) // block * block
    return recent[:n], recent[n:]


def _at_once(recent, window, block):
    n = max(0, len(recent) - window)
    return recent[:n], recent[n:]


def _everything(recent, window, block):
    n = len(recent) // block * block if len(recent) >= window + block else 0
    return recent[:n], recent[n:]


def _newest(recent, window, block):
    n = max(0, len(recent) - window) // block * block
    return recent[len(recent) - n :], recent[: len(recent) - n]


def _one_block(recent, window, block):
    n = block if len(recent) >= window + block else 0
    return recent[:n], recent[n:]


def _rounded_up(recent, window, block):
    n = min(len(recent), -(-max(0, len(recent) - window) // block) * block)
    return recent[:n], recent[n:]


def _negative(recent, window, block):
    n = (len(recent) - window) // block * block
    return recent[:n], recent[n:]


def _late(recent, window, block):
    n = max(0, len(recent) - window - 1) // block * block
    return recent[:n], recent[n:]


def _dropped(recent, window, block):
    n = max(0, len(recent) - window) // block * block
    return recent[:n], recent[len(recent) - window :] if n else recent


def _numbers(recent, window, block):
    n = max(0, recent.numel() - window) // block * block
    return recent[:n], recent[n:]


def _all_there(got, recent, window, block):
    whole, told = torch.cat([got[0], got[1]]), f"{len(got[0])} leave and {len(got[1])} stay"
    if len(whole) != len(recent):
        return f"{told}: that makes {len(whole)}, and {len(recent)} came."
    return torch.equal(whole, recent) or f"{told}, but not in the order in which they came."


def _whole_blocks(got, recent, window, block):
    n = len(got[0])
    return n % block == 0 or f"{n} {'token leaves' if n == 1 else 'tokens leave'}: that is no multiple of {block}."


def _window(got, recent, window, block):
    stay = len(got[1])
    if stay < min(window, len(recent)):
        return f"Of {len(recent)} tokens {stay} stay; the last {min(window, len(recent))} must."
    return stay < window + block or f"{stay} tokens stay, and a block of {block} could leave."


def _split(name, fn, why):
    """A law about two parts with any number of rows: it is their numbers that are judged."""

    def test(run):
        for case in run.cases:
            got = run.outcome(case).value
            two = isinstance(got, (tuple, list)) and len(got) == 2
            two = two and all(isinstance(part, torch.Tensor) and part.shape[1:] == (2,) for part in got)
            said = fn(got if two else run.case(case), *case.args)
            if said is not True:
                run.fail(case, said, got=got, has_answer=True)

    return Property(name, test, why)


def _sliced(recent, window, block):
    return recent[:-window], recent[-window:]


def _blocks_not_tokens(recent, window, block):
    n = max(0, len(recent) - window) // block
    return recent[:n], recent[n:]


def _window_ignored(recent, window, block):
    n = len(recent) // block * block
    return recent[:n], recent[n:]


def _rounded_first(recent, window, block):
    n = max(0, len(recent) // block * block - window)
    return recent[:n], recent[n:]


def _tokens(n):
    return torch.arange(2.0 * n).reshape(n, 2)


EXERCISE = Exercise(
    id="ch11.leave",
    title="Who leaves the window?",
    spec="leave(recent, window, block): (leaving, staying): the oldest tokens leave in whole blocks, `window` stay.",
    kind="build",
    stub='''
def leave(recent, window, block):
    """(leaving (n, dim), staying (tokens - n, dim)): as many whole blocks of the oldest as the window can spare.

    recent (tokens, dim) is in the order of the text. At least `window` tokens stay, if there are as many.
    """
    ...
''',
    reference=leave,
    piece="leave",
    cases=[
        Case("too few", _tokens(3), 4, 2),
        Case("none to spare", _tokens(4), 4, 2),
        Case("one to spare, no block", _tokens(5), 4, 2),
        Case("just a block", _tokens(6), 4, 2),
        Case("a long prompt at once", _tokens(15), 4, 2),
        Case("a window far longer than the text", _tokens(3), 8, 1),
        Case("blocks of one, one to spare", -_tokens(3), 2, 1),
        Case("no window", _tokens(7), 0, 3),
        Case("a window of no whole blocks", _tokens(9), 3, 2),
        Case("blocks of one", _tokens(5), 3, 1),
        Case("an even fit", _tokens(12), 4, 4),
    ],
    properties=[
        _split("nothing is lost", _all_there, "Leaving and staying, one after the other, are what came."),
        _split("whole blocks leave", _whole_blocks, "A channel's scale is shared by the tokens of a block."),
        _split("the window stays full", _window, "At least the window stays, and less than a block more."),
        equals_reference(why="Rows are only split."),
    ],
    wrong=[
        Wrong(
            "single tokens leave",
            _at_once,
            "Keys share a scale along a block of tokens, so only whole blocks may leave: round down to a multiple.",
        ),
        Wrong(
            "single tokens leave, and all stay for no window",
            _sliced,
            "Whole blocks leave, so round down to a multiple of block. And [-window:] is *everything* for window 0.",
        ),
        Wrong(
            "blocks, not tokens",
            _blocks_not_tokens,
            "You counted blocks and cut off as many tokens. A block has `block` tokens: multiply again.",
        ),
        Wrong(
            "no window",
            _window_ignored,
            "All whole blocks leave, and the window with them. Take the window off first, then count blocks.",
        ),
        Wrong(
            "rounded before the window came off",
            _rounded_first,
            "Rounded first, then less the window: no whole blocks, unless the window is one. Take it off first.",
        ),
        Wrong(
            "the window leaves, too",
            _everything,
            "The last `window` tokens must stay as they are. Take them off before you count blocks.",
        ),
        Wrong(
            "the newest leave",
            _newest,
            "The *oldest* leave, from the front. The newest are those that attention reads most closely.",
        ),
        Wrong(
            "one block at most",
            _one_block,
            "After a long prompt there are many blocks to spare. All of them leave.",
        ),
        Wrong(
            "rounded up",
            _rounded_up,
            "Rounded up, a block reaches into the window. Round down.",
        ),
        Wrong(
            "fewer than none",
            _negative,
            "With fewer tokens than the window the difference is negative, and a negative slice counts from the end.",
        ),
        Wrong(
            "one step late",
            _late,
            "With window + block tokens a block can go already, and it stayed.",
        ),
        Wrong(
            "numbers, not tokens",
            _numbers,
            "numel() counts tokens times dim. A token is a row: len(recent).",
        ),
        Wrong(
            "the rest is dropped",
            _dropped,
            "Exactly `window` tokens stay, so those between the last block and the window are lost. They have to stay.",
        ),
        Wrong(
            "the window cut off the end",
            lambda recent, window, block: (leave(recent, window, block)[0], recent[-window:]),
            "recent[-window:] is the bare window. What does not fill a block stays, too: recent[n:].",
        ),
        Wrong(
            "staying before leaving",
            lambda recent, window, block: leave(recent, window, block)[::-1],
            "The right two parts, the wrong way round: what leaves comes first.",
        ),
    ],
    hints=[
        "How many tokens are there beyond the window? How many whole blocks is that?",
        "15 tokens, a window of 4, blocks of 2: 11 beyond, 5 blocks, so 10 leave and 5 stay.",
        "    n = max(0, len(recent) - ____) // ____ * ____\n    return recent[:____], recent[____:]",
    ],
    passed="What is stored now depends on the text alone, not on how many tokens came at a time.",
)
