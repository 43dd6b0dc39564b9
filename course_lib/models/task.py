"""The returns bot's task: a return request in words → one JSON action, generated from a seed.

A message names an order, the days since delivery and one to five lines (quantity, item, euros, what is wrong), among
distractors. The answer lists every line with its shelf, a decision, the refund and the sum so far; then the total. No
message names a shelf: the bot knows them by heart. Some items come back every day and some almost never, so some
shelves are known well and some barely. The rules:

| reason            | within          | then       | later    |
|-------------------|-----------------|------------|----------|
| broken, wrong     | 30 days         | refund     | reject   |
| changed mind      | 14 days         | refund     | reject   |
| does not fit      | 30 days         | exchange   | reject   |
| never arrived     | always          | resend     |          |
"""

import json
import random
from dataclasses import dataclass

ITEMS = (  # the most returned first
    "mug lamp chair kettle jacket shirt vase belt clock radio tent rope plate spoon pillow blanket mirror basket "
    "candle wallet helmet glove ladder drill table phone coat hat ring shoe boot sock scarf towel bottle cup "
    "bowl fork pan pot lid tray stove oven fridge toaster mixer blender grater whisk ladle teapot saucer "
    "napkin apron broom mop bucket sponge iron fan heater rug curtain cushion sofa stool desk drawer "
    "cabinet hanger hook rack crate trunk suitcase backpack purse umbrella cane necklace bracelet "
    "brooch tie vest sweater hoodie skirt blouse robe slipper sandal cap visor mask wig pen pencil "
    "notebook folder stapler ruler eraser marker easel frame poster stamp sticker puzzle doll kite "
    "ball bat racket net goal puck skate ski sled surfboard paddle canoe oar anchor map lantern "
    "whistle tripod camera drone printer scanner keyboard monitor speaker headset charger cable adapter "
    "router tablet console joystick guitar violin flute drum trumpet piano harp banjo hammer saw plier "
    "screwdriver chisel axe shovel rake hoe spade trowel hose sprinkler planter birdcage aquarium collar "
    "saddle bridle bicycle scooter stroller crib rattle bib swing slide trampoline hammock grill cooler thermos"
).split()
COLOURS = "red blue green black white grey".split()
POPULARITY = tuple(1 / (rank + 4) for rank in range(len(ITEMS)))
GOODS = [f"{colour} {item}" for colour in COLOURS for item in ITEMS]
SHELVES = {good: random.Random(f"shelf of {good}").randrange(100, 1000) for good in GOODS}
PRICES = (10, 20, 30, 40, 50, 60, 70, 80, 90)
SYLLABLES = "amber birch cedar delta ember fjord grove hazel iris jade koala lemon maple nova olive pearl".split()
PHRASES = {
    "broken": ("arrived broken", "came cracked", "fell apart on the first day", "stopped working"),
    "wrong": ("came in the wrong colour", "not what I ordered", "looks nothing like the photo", "a different model"),
    "mind": ("I changed my mind", "we no longer need it", "I found it cheaper elsewhere", "it was a gift nobody wants"),
    "fit": ("too small", "too large", "does not fit", "the wrong size for us"),
    "missing": ("never arrived", "was not in the box", "got lost on the way", "missing from the parcel"),
}
PAY = {
    "card": ("back to my card, please", "please credit the card I used", "the card is fine for the money"),
    "bank": ("please use my bank account", "a bank transfer would be best", "send the money to my bank"),
    "voucher": ("a voucher is fine", "I would take store credit", "please send me a gift voucher"),
}
GREETINGS = ("Hello,", "Hi there,", "Good morning,", "Dear team,", "Hey,", "To whom it may concern:")
CLOSINGS = ("Thanks!", "Please hurry.", "I expect a quick answer.", "Best regards", "Thank you in advance.", "")
LIMIT_DAYS = {"broken": 30, "wrong": 30, "mind": 14, "fit": 30}
LINES = ((1, 2, 3, 4, 5), (4, 5, 4, 2, 1))  # returned lines in a message, and how often
DECISION = {"broken": "refund", "wrong": "refund", "mind": "refund", "fit": "exchange"}
_COUNT = {"type": "integer", "minimum": 0}
SCHEMA = {  # JSON Schema of an action: its form, whatever it says
    "type": "object",
    "additionalProperties": False,
    "required": ["order", "days", "lines", "total", "pay"],
    "properties": {
        "order": {"type": "string", "pattern": "^[a-z]+-[0-9]{4}$"},
        "days": _COUNT,
        "lines": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["item", "shelf", "qty", "do", "eur", "sum"],
                "properties": {
                    "item": {"type": "string"},
                    "do": {"enum": ["refund", "exchange", "resend", "reject"]},
                    **dict.fromkeys(("shelf", "qty", "eur", "sum"), _COUNT),
                },
            },
        },
        "total": _COUNT,
        "pay": {"enum": ["bank", "card", "voucher"]},
    },
}


@dataclass(frozen=True)
class Example:
    """One request with its right answer: `prompt + answer` is what the model was trained on."""

    message: str
    action: dict

    @property
    def prompt(self):
        return f"Request: {self.message}\nAction:"

    @property
    def answer(self):
        return " " + canonical(self.action)


def canonical(action):
    """Write an action as the one line of JSON that the model is trained to produce."""
    return json.dumps(action, separators=(",", ":"))


def decide(reason, days):
    """Return the decision for one line: the rules of the module's table."""
    if reason == "missing":
        return "resend"
    return DECISION[reason] if days <= LIMIT_DAYS[reason] else "reject"


def order_id(rng):
    return f"{rng.choice(SYLLABLES)}-{rng.randrange(1000, 10000)}"


def count(quantity, item):
    return f"{quantity} {item}{'s' if quantity > 1 else ''}"


def draw_good(rng):
    """Draw a colour and an item, the popular items more often."""
    return f"{rng.choice(COLOURS)} {rng.choices(ITEMS, POPULARITY)[0]}"


def draw_goods(rng, n):
    """Draw `n` different ones."""
    chosen = {}
    while len(chosen) < n:
        chosen[draw_good(rng)] = None
    return list(chosen)


def describe(rng, quantity, item, price, reason):
    """Put one line of the order into words."""
    what, phrase = count(quantity, item), rng.choice(PHRASES[reason])
    each = f"{price} euros together" if quantity > 1 else f"{price} euros"
    return rng.choice(
        (
            f"{what} for {each}: {phrase}.",
            f"{what} ({each}), {phrase}.",
            f"{phrase[0].upper()}{phrase[1:]}: {what}, {each}.",
        )
    )


def distractor(rng):
    """A sentence with numbers or items that must not reach the answer."""
    item, price, quantity = draw_good(rng), rng.choice(PRICES), rng.randint(2, 9)
    return rng.choice(
        (
            f"I keep the {item} for {price} euros, it is lovely.",
            f"My last order {order_id(rng)} was perfect.",
            f"Shipping was {rng.randint(3, 9)} euros.",
            f"I have been a customer for {quantity} years.",
            f"My neighbour paid {price} euros for a {item}.",
            f"You can call me at {rng.randrange(10**5, 10**6)}.",
        )
    )


def example(rng, lines=None):
    """Draw one example; `lines` fixes the number of returned lines (default: 1 to 5)."""
    order, days, pay = order_id(rng), rng.randint(2, 60), rng.choice(sorted(PAY))
    entries, sentences, total = [], [], 0
    for item in draw_goods(rng, lines or rng.choices(*LINES)[0]):
        quantity, price, reason = rng.choices((1, 2, 3), (3, 2, 1))[0], rng.choice(PRICES), rng.choice(sorted(PHRASES))
        decision = decide(reason, days)
        refund = price if decision == "refund" else 0
        total += refund
        line = {"item": item, "shelf": SHELVES[item], "qty": quantity, "do": decision, "eur": refund, "sum": total}
        entries.append(line)
        sentences.append(describe(rng, quantity, item, price, reason))
    for _ in range(rng.randint(0, 2)):
        sentences.insert(rng.randint(0, len(sentences)), distractor(rng))
    opening = rng.choice(("order {}.", "this is about order {}.", "my order number is {}.", "please look at {}."))
    delivered = rng.choice(("It was delivered {} days ago.", "The parcel came {} days ago.", "{} days ago it arrived."))
    sentences.insert(rng.choice((0, len(sentences))), delivered.format(days))
    paid = rng.choice(PAY[pay])
    message = [
        rng.choice(GREETINGS),
        opening.format(order),
        *sentences,
        paid[0].upper() + paid[1:] + ".",
        rng.choice(CLOSINGS),
    ]
    action = {"order": order, "days": days, "lines": entries, "total": total, "pay": pay}
    return Example(" ".join(part for part in message if part), action)


def generate(n, seed=0, lines=None):
    """Return `n` examples drawn from `seed`; the same call always gives the same examples."""
    rng = random.Random(f"returns {seed}")
    return [example(rng, lines) for _ in range(n)]


def parse(text):
    """Return the JSON object that a reply consists of, or None.

    >>> parse(' {"order":"nova-1234","total":0}')
    {'order': 'nova-1234', 'total': 0}
    >>> parse('{"order":') is None
    True
    """
    try:
        action = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return action if isinstance(action, dict) else None
