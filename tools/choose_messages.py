"""Find telling messages for the first screen: right at many bits, then wrong although nearly every token is right.

    python tools/choose_messages.py [--draw 300]

Run it after a new bundled model, and put the numbers that it prints into SEED and CHOSEN of
course_lib/viz/explorers/ch00_bot.py. A message scores when its reply is right from 16 down to 5 bits and goes wrong at
4 or 3 bits: the more tokens are still right there, and the more the mistake costs the customer, the better.
"""

import argparse

from course_lib import models
from course_lib.evaluate import generate_many, one_thread
from course_lib.viz.bot import Bot, compare
from course_lib.viz.explorers.ch00_bot import SEED

WHOLE, BREAKING = (16, 8, 6, 5), (4, 3)
GRAVE = ("the refund goes", "the customer gets", "the money goes")


def candidates(draw):
    """(number, message) of every drawn message that fits the screen."""
    drawn = enumerate(models.task.generate(draw, SEED))
    return [(k, e) for k, e in drawn if len(e.message) <= 300 and 1 < len(e.action["lines"]) <= 3 and e.action["total"]]


def verdicts(bot, found):
    """{bits: [comparison of each message's reply]}, the messages decoded together."""
    result = {}
    for bits in (*WHOLE, *BREAKING):
        model, _ = bot.variant(bits)
        with one_thread():
            replies = generate_many(model, bot.tokenizer, [e.prompt for _, e in found], 180)
        result[bits] = [
            compare(reply.strip(), e.answer.strip(), e.action, bot.tokens)
            for reply, (_, e) in zip(replies, found, strict=True)
        ]
        print(f"{bits:2} bits: {sum(c.exact for c in result[bits])} of {len(found)} right")
    return result


def score(row):
    """How telling one message is: None unless it is right down to 5 bits and wrong at 4 or 3."""
    if not all(row[bits].exact for bits in WHOLE) or row[3].exact:
        return None
    broken = next(bits for bits in BREAKING if not row[bits].exact)
    c = row[broken]
    grave = next((len(GRAVE) - k for k, words in enumerate(GRAVE) if c.faults and c.faults[0].startswith(words)), 0)
    return grave + c.right / len(c.hits) * 4 + (broken == 4), broken


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", type=int, default=300, help="messages to try")
    parser.add_argument("--show", type=int, default=20, help="how many of the best to print")
    options = parser.parse_args()
    bot, found = Bot(), candidates(options.draw)
    seen = verdicts(bot, found)
    rows = [({bits: seen[bits][k] for bits in seen}, number, e) for k, (number, e) in enumerate(found)]
    ranked = sorted(((score(row), number, row) for row, number, _ in rows if score(row)), key=lambda r: -r[0][0])
    for (points, broken), number, row in ranked[: options.show]:
        c = row[broken]
        print(f"{number:4}  {points:4.1f}  {broken} bits: {c.right} of {len(c.hits)} tokens, {'; '.join(c.faults)}")
    print(f"SEED, CHOSEN = {SEED}, {tuple(number for _, number, _ in ranked[:6])}")


if __name__ == "__main__":
    main()
