"""Chapter 00, the first screen: take bits away from the returns bot and watch its size fall, and then its answers."""

import re
import textwrap
from dataclasses import dataclass

from course_lib.viz.axis import Axis, plural
from course_lib.viz.bot import BITS, Bot, Comparison, compare
from course_lib.viz.controls import Choice, Steps
from course_lib.viz.explorer import Explorer
from course_lib.viz.scene import Scene

INDENT = {'{"it': 26, '"do"': 36}  # of a line of the reply, by its first letters
BUDGET_BYTES = 1_900_000
SEED, CHOSEN = 7, (76, 183, 230, 212, 276, 118)  # the messages offered; tools/choose_messages.py finds telling ones
WIDTH, HEIGHT = 760, 288  # low enough to stand on a small screen together with its controls and its sentence
LEFT, RIGHT, MIDDLE = 8, 340, 318  # the message and the size stand left of MIDDLE, reply and tokens right of RIGHT
CARD_Y, CARD_H = 26, 174
BELOW = 222  # where the second row begins
LEFT_OUT = "\ue000"  # stands in a line of the reply where tokens are missing; drawn as a bar
FONT, EM, LINE = 12.5, 7.5, 20  # monospaced: size, width of a letter, height of a line, in pixels


@dataclass(frozen=True)
class Scene00:
    """Everything that one setting shows."""

    order: str
    message: str
    bits: int
    reply: str
    comparison: Comparison
    size_bytes: int
    full_bytes: int
    budget_bytes: int
    trouble: str = ""  # what a learner's rounding raised


class BreakTheBot(Explorer):
    """A return request, one slider from 16 to 2 bits, the reply with what is wrong in it, and the size."""

    name = "break_the_bot"

    def __init__(self, bot, messages, budget_bytes, own, **start):
        self.bot, self.examples, self.budget_bytes = bot, messages, budget_bytes
        self.own = own  # whose rounding it runs on, as a sentence says it: "your", "the course's"; "" for no matter
        options = tuple((_label(example), index) for index, example in enumerate(messages))
        stops = tuple((f"{bits} bits", bits) for bits in BITS)
        self.controls = (
            Choice("message", "request", options, 0),
            Steps("bits", "bits a weight", stops, 16, continuous=False),
        )
        super().__init__(**start)

    def numbers(self, message, bits):
        example = self.examples[message]
        order = example.action["order"]
        full = self.bot.reply(example.prompt, 16).size_bytes
        try:
            reply = self.bot.reply(example.prompt, bits)
        except Exception as error:  # the learner's own function: say what it raised, keep the kernel and the picture
            if not self.own:
                raise
            nothing = Comparison((), (False,) * len(self.bot.tokens(example.answer.strip())), ("there is no reply",))
            said = f"{type(error).__name__}: {error}"
            return Scene00(order, example.message, bits, "", nothing, full, full, self.budget_bytes, said)
        found = compare(reply.text, example.answer.strip(), example.action, self.bot.tokens)
        return Scene00(order, example.message, bits, reply.text, found, reply.size_bytes, full, self.budget_bytes)

    def sentence(self, n):
        if n.trouble:
            return f"Your rounding stopped with {n.trouble.rstrip('.')}."
        rounding = f" with {self.own} rounding" if self.own and n.bits < 16 else ""
        fits = "within" if n.size_bytes <= n.budget_bytes else "over"
        size = f"At {n.bits} bits{rounding} the model takes {_mb(n.size_bytes)}"
        size += f", {fits} the budget of {_mb(n.budget_bytes)}."
        c = n.comparison
        if c.exact:
            return f"{size} {n.order}: the reply is exactly right."
        share = f"{c.right} of {plural(len(c.hits), 'token')} are still right ({c.right / len(c.hits):.0%})"
        more = f", and {plural(len(c.faults) - 1, 'more mistake')}" if len(c.faults) > 1 else ""
        fault = c.faults[0] if c.faults else "the wording differs"
        return f"{size} {n.order}: {share}, but {fault}{more}."

    def draw(self, n):
        scene = Scene(WIDTH, HEIGHT)
        _message(scene, n.message)
        _reply(scene, n)
        _size(scene, n, BELOW)
        _tokens(scene, n.comparison, BELOW)
        return scene


def _mb(size_bytes):
    return f"{size_bytes / 1e6:.2f} MB"


def _label(example):
    lines = ", ".join(f"{line['qty']} {line['item']}" for line in example.action["lines"])
    return f"{example.action['order']}: {lines}"


def _message(scene, message):
    """The customer's words in a speech bubble."""
    scene.text(LEFT, 16, "a customer writes", size=14, bold=True, anchor="start")
    scene.rect(1, CARD_Y, MIDDLE, CARD_H, fill="card", color="faint", line=1.2)
    tail = [(MIDDLE + 1, CARD_Y + 40), (MIDDLE + 15, CARD_Y + 50), (MIDDLE + 1, CARD_Y + 60)]
    scene.path(tail, "faint", 1.2, fill="card")
    lines = textwrap.wrap(message, 37)
    leading = min(20, (CARD_H - 14) / len(lines))
    for k, line in enumerate(lines):
        scene.text(14, CARD_Y + 22 + k * leading, line, size=14 if leading > 18 else 13, anchor="start")


def _reply(scene, n):
    """The bot's reply in its true spelling: boxed what should not be there, a bar where something is left out."""
    c, x0 = n.comparison, RIGHT
    scene.text(x0 + 4, 16, f"the bot answers, {n.bits} bits a weight", size=14, bold=True, anchor="start")
    verdict, color = ("✓ right", "green") if c.exact else ("✗ wrong", "red")
    scene.text(WIDTH - 4, 16, verdict, size=15, bold=True, color=color, anchor="end")
    scene.rect(x0, CARD_Y, WIDTH - x0 - 1, CARD_H, fill="card", color=color, line=2)
    lines = _lines(c.pieces, 51)
    leading = min(LINE, (CARD_H - 14) / max(1, len(lines)))
    for k, line in enumerate(lines):
        y, x = CARD_Y + 22 + k * leading, x0 + INDENT.get(line[0][0][:4], 13)
        for text, right in line:
            if text == LEFT_OUT:
                scene.rect(x - 1.5, y - 14, 3, 19, fill="red")
                continue
            width = len(text) * EM
            if not right:
                scene.rect(x - 1, y - 13, width + 2, 17, fill="paper", color="red", line=1.6)
            scene.text(x, y, text, size=FONT, color="ink" if right else "red", anchor="start",
                       bold=not right, mono=True, length=width)  # fmt: skip
            x += width


def _lines(pieces, columns):
    """Break the reply after its fields, and where a line is full: [[(text, right?), …], …]."""
    letters = [(letter, right) for text, right in pieces for letter in text.replace("\n", "⏎") or LEFT_OUT]
    text = "".join(letter for letter, _ in letters)
    breaks = {
        m.end()
        for m in re.finditer(r'(?<=\d),(?="lines")|,(?="days")|\[(?=\{)|\},(?=\{)|,(?="do")|\}(?=\],)|\],', text)
    }
    lines, line = [], []
    for at, entry in enumerate(letters):
        if line and (at in breaks or len(line) >= columns):
            lines.append(line)
            line = []
        line.append(entry)
    lines = [*lines, line] if line else lines
    return [_runs(entries) for entries in lines[:11]]


def _runs(entries):
    runs = []
    for letter, right in entries:
        if runs and runs[-1][1] == right and LEFT_OUT not in (letter, runs[-1][0]):
            runs[-1] = (runs[-1][0] + letter, right)
        else:
            runs.append((letter, right))
    return runs


def _tokens(scene, c, y):
    """One square for each token of reply and answer laid side by side: filled where they agree, crossed where not."""
    share = f"{c.right} of {len(c.hits)} tokens are right" if c.hits else ""
    scene.text(RIGHT + 4, y, share, size=14, bold=True, anchor="start")
    per_row = (WIDTH - RIGHT - 4) // 12
    for k, hit in enumerate(c.hits):
        x, top = RIGHT + 4 + k % per_row * 12, y + 11 + k // per_row * 13
        if hit:
            scene.rect(x, top, 9, 9, fill="blue")
        else:
            scene.rect(x + 0.5, top + 0.5, 8, 8, color="red", line=1.6)
            scene.line(x, top, x + 9, top + 9, "red", 1.8).line(x, top + 9, x + 9, top, "red", 1.8)


def _size(scene, n, y):
    """The model's bytes as a bar that shrinks from its 16-bit outline, against the dashed budget."""
    axis = Axis(0, n.full_bytes, LEFT, MIDDLE)
    end, over, top, high = axis(n.size_bytes), axis.inside(n.budget_bytes), y + 11, 30
    fits = n.size_bytes <= n.budget_bytes
    words, color = ("✓ fits", "green") if fits else ("✗ too large", "red")
    scene.text(LEFT, y, f"size {_mb(n.size_bytes)}", size=14, bold=True, anchor="start")
    scene.text(MIDDLE, y, words, size=15, bold=True, color=color, anchor="end")
    scene.rect(LEFT, top, MIDDLE - LEFT, high, color="muted", line=1.2)
    scene.rect(LEFT, top, end - LEFT, high, fill="blue")
    if n.size_bytes < 0.57 * n.full_bytes:
        scene.text(MIDDLE - 6, top + 20, f"16 bits: {_mb(n.full_bytes)}", size=13, color="muted", anchor="end")
    if not fits:
        scene.hatch(over, top, end - over, high, "paper", gap=9, width=1.6)
    scene.line(over, top - 5, over, top + high + 6, "ink", 2, (5, 4))
    label = min(max(over, LEFT + 55), MIDDLE - 55)
    scene.text(label, top + high + 20, f"byte budget {_mb(n.budget_bytes)}", size=13)


def break_the_bot(
    rounding=None, model=None, tokenizer=None, bot=None, messages=None, budget_bytes=BUDGET_BYTES, whose="yours",
    **start
):  # fmt: skip
    """The explorer of chapter 00: `break_the_bot()`, or on your own rounding `break_the_bot(rounding=my_rounding)`.

    rounding      function (w (out, in), s (out, 1)) -> rounded weights; s is max|w| / (2^(b-1) - 1) of each row
    model         with `tokenizer`: another model than the bundled one
    bot           instead of a model: any object with .reply(prompt, bits) -> viz.bot.Reply and .tokens(text) -> list
    messages      list of models.task.Example to choose from
    budget_bytes  where the dashed line stands
    whose         "yours"; anything else that `mine.pieces().whose` says is called the course's rounding
    """
    if rounding is not None and not callable(rounding):
        raise TypeError(f"rounding must be a function of (w, s), got {type(rounding).__name__}")
    if messages is None:
        from course_lib.models import task

        drawn = task.generate(max(CHOSEN) + 1, SEED)
        messages = [drawn[k] for k in CHOSEN]
    own = "" if rounding is None else "your" if whose == "yours" else "the course's"
    return BreakTheBot(bot or Bot(model, tokenizer, rounding), list(messages), budget_bytes, own, **start)
