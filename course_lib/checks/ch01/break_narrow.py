"""ch01.break_narrow: eight bits into four, by a program that asks an int8 tensor for its largest size."""

import torch

from course_lib.checks import Wrong
from course_lib.checks.breaks import break_exercise
from course_lib.checks.inputs import int8
from course_lib.checks.shorten import number


def narrow(codes):
    """4-bit codes and their step, for 8-bit codes. Promise: every code comes back within half a step."""
    top = codes.abs().max()
    step = top / 7 if top != 0 else torch.tensor(1.0)
    return torch.clip(torch.round(codes / step), -7, 7), step


def right(codes):
    """The same, in a type that holds +128, too."""
    return narrow(codes.float())


def trial(program, codes):
    """(kept?, what becomes of the largest code)."""
    q, step = program(codes)
    back, half = q * step, step.abs().item() / 2
    at = int(codes.float().abs().argmax())
    told = f"{int(codes[at])} comes back as {number(back[at].item())} (half a step is {number(half)})"
    return (back - codes.float()).abs().max().item() <= half * (1 + 1e-5), told


def legal(codes):
    """True, or what is wrong with the codes."""
    if codes.dim() != 1:
        return f"The codes have the shape {tuple(codes.shape)}. Hand in one row: `torch.tensor([…], dtype=torch.int8)`."
    return 1 <= len(codes) <= 64 or f"You hand in {len(codes)} codes. Allowed are 1 to 64."


def _tied(codes):
    """Whether a code lies halfway between two marks."""
    return bool((codes.float() / (codes.float().abs().max() / 7) % 1 == 0.5).any())


def _sizes(codes):
    """The sizes of all codes but −128."""
    return [abs(c) for c in codes.tolist() if c != -128]


EXERCISE = break_exercise(
    id="ch01.break_narrow",
    title="Break it: eight bits into four",
    spec="codes: the shortest row of int8 codes of which one does not come back within half a step.",
    program=narrow,
    right=right,
    trial=trial,
    legal=legal,
    name="codes",
    asked="int8, one axis, as few as you can",
    answer="torch.tensor([-128, 1], dtype=torch.int8)  # int8 has no +128: |-128| wraps round to -128",
    unit="codes",
    wrong=[
        Wrong(
            "the largest positive code",
            int8(127, 1),
            "127 has a partner below zero. Look at the other end of int8, which this chapter's ruler never uses.",
            like=lambda codes: -128 not in codes and int(codes.max()) == 127,
        ),
        Wrong(
            "the last code of our ruler",
            int8(-127, 1),
            "−127 is where our ruler stops, and what the author tried. An int8 goes on from there.",
            like=lambda codes: -128 not in codes and int(codes.min()) == -127,
        ),
        Wrong(
            "halfway between two marks",
            int8(14, 1),
            "A tie is off by half a step, no more, whichever neighbour it goes to. Rounding is not what fails here.",
            like=lambda codes: -128 not in codes and _tied(codes),
        ),
        Wrong(
            "zeros",
            int8(0, 0),
            "The author thought of zeros: the step is 1, and they come back as they are.",
            like=lambda codes: not codes.any(),
        ),
        Wrong(
            "codes that have a partner",
            int8(-100, 3, 60),
            "For these, `abs` is right, and so is all that follows. Of the 256 codes of int8 one has no partner with "
            "the other sign. What can `abs` do with that one?",
            like=lambda codes: -128 not in codes,
        ),
        Wrong(
            "two signs that cancel",
            int8(-128),
            "Alone, −128 makes the largest size −128, so the step is negative, the code too, and their product is "
            "right. Give `max` something larger to find.",
            like=lambda codes: not _sizes(codes),
        ),
        Wrong(
            "hidden behind a large neighbour",
            int8(-128, 127),
            "−128 is overlooked, but 7 steps of the other code end within half a step of it. Take a smaller one.",
            like=lambda codes: -128 in codes,
        ),
        Wrong(
            "not a row",
            int8([-128, 1]),
            "A smallest input needs one axis, so one pair of brackets: `torch.tensor([…], dtype=torch.int8)`.",
            like=lambda codes: codes.dim() != 1,
        ),
        Wrong(
            "more than it takes",
            int8(-128, 1, 2, 3),
            "This breaks it. Leave out one code after the other, as long as it still does.",
        ),
    ],
    hints=[
        "Is there an int8 for which `abs` cannot give its size? What `abs` gives is an int8 again.",
        "Smaller: with 3 bits the codes are −4 … 3. There is no +4, so |−4| wraps round to −4. In the row (−4, 2) "
        "`max` finds 2, and a step made for 2 serves −4 badly. And in the row (−4) alone?",
        "codes = torch.tensor([____, ____], dtype=torch.int8)  # one without a partner, and a small one",
    ],
    passed="No random test on codes from −127 to 127 can find this, however long it runs. Test the ends of the *type*.",
)
