"""The returns bot behind chapter 00's first screen: replies at 16 to 2 bits, compared with the right one."""

import difflib
import itertools
from dataclasses import dataclass
from functools import cached_property

BITS = (16, 8, 7, 6, 5, 4, 3, 2)


@dataclass(frozen=True)
class Reply:
    """What the bot wrote at one bit width, and how many bytes it takes to store it."""

    text: str
    size_bytes: int


class Bot:
    """The bundled model at any of BITS: each variant is made when first asked for and kept, and so is each reply.

    `rounding(w, s)` may replace the course's rounding: w (out, in), s (out, 1) with s = max|w| / (2^(b-1) - 1) per row;
    it returns the rounded weights, as `s * torch.round(w / s)` does.
    """

    def __init__(self, model=None, tokenizer=None, rounding=None):
        self._given, self.rounding = (model, tokenizer), rounding
        self._variants, self._replies = {}, {}

    @cached_property
    def _loaded(self):
        if self._given[0] is not None:
            return self._given
        from course_lib import models

        return models.load("bundled")

    @property
    def tokenizer(self):
        return self._loaded[1]

    def reply(self, prompt, bits):
        """The reply to one prompt at `bits` bits; quick from the second time on."""
        key = (prompt, bits)
        if key not in self._replies:
            from course_lib.evaluate import generate

            model, size = self.variant(bits)
            self._replies[key] = Reply(generate(model, self.tokenizer, prompt, max_new_tokens=180).strip(), size)
        return self._replies[key]

    def tokens(self, text):
        """The text cut into the model's own tokens, as strings that join to the text."""
        spans = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        cuts = sorted({0, len(text), *(end for _, end in spans)})  # the bytes of one letter may be several tokens
        return [text[a:b] for a, b in itertools.pairwise(cuts)]

    def variant(self, bits):
        """(model, stored bytes) at `bits` bits, one scale a row."""
        if bits not in self._variants:
            from course_lib.calibrate import model_bytes

            whole = self._loaded[0]
            self._variants[bits] = (whole, model_bytes(whole)) if bits == 16 else self._quantized(bits)
        return self._variants[bits]

    def _quantized(self, bits):
        import torch

        from course_lib.calibrate import map_weights, model_bytes, quantize_model
        from course_lib.evaluate import one_thread
        from course_lib.qtensor import quantize
        from course_lib.scheme import Scheme

        scheme = Scheme.int(bits, scale_dtype=torch.float16)
        with one_thread():
            model = quantize_model(self._loaded[0], scheme, progress=False)
            size = model_bytes(model)
            if self.rounding is not None:
                model = map_weights(self._loaded[0], lambda w: self.rounding(w, quantize(w, scheme).step))
        return model, size


@dataclass(frozen=True)
class Comparison:
    """A reply beside the right answer, token by token."""

    pieces: tuple  # the reply as runs of (text, right?); ("", False) where something is left out
    hits: tuple  # one bool for each token of reply and answer laid side by side: are they the same?
    faults: tuple  # sentences, gravest first

    @property
    def right(self):
        return sum(self.hits)

    @property
    def exact(self):
        return all(self.hits) and not self.faults


def compare(text, wanted, action, tokens):
    """Align the tokens of a reply with those of the right answer; say what the differences do to the customer."""
    from course_lib.models.task import parse

    reply, answer = tokens(text), tokens(wanted)
    hits, pieces = [], []
    for kind, i1, i2, j1, j2 in difflib.SequenceMatcher(None, answer, reply, autojunk=False).get_opcodes():
        hits += [kind == "equal"] * max(i2 - i1, j2 - j1)
        pieces.append(("".join(reply[j1:j2]), kind == "equal"))
    said = parse(text)
    broken = ("the reply is no longer JSON, so the shop can do nothing with it",)
    return Comparison(tuple(pieces), tuple(hits), broken if said is None else tuple(faults(said, action)))


def faults(said, wanted):
    """What is wrong with an action, in words, gravest first; nothing for the right one.

    >>> list(faults({"order": "iris-1", "total": 5}, {"order": "iris-7", "total": 5}))
    ['the refund goes to the wrong order (iris-1, not iris-7)']
    """
    if said == wanted:
        return
    if said.get("order") != wanted["order"]:
        what = "the refund goes to" if wanted.get("total") else "the answer names"
        yield f"{what} the wrong order ({_short(said.get('order'))}, not {wanted['order']})"
    if said.get("total") != wanted.get("total"):
        yield f"the customer gets {_short(said.get('total'))} euros instead of {wanted.get('total')}"
    if said.get("pay") != wanted.get("pay"):
        yield f"the money goes to the {_short(said.get('pay'))}, not the {wanted.get('pay')}"
    yield from _line_faults(said.get("lines"), wanted.get("lines"))
    if said.get("days") != wanted.get("days"):
        yield f"{_short(said.get('days'))} days since delivery instead of {wanted.get('days')}"
    if set(said) != set(wanted):
        yield f"the fields are {', '.join(map(str, said))}"


def _line_faults(said, wanted):
    if said == wanted:
        return
    if not isinstance(said, list) or len(said) != len(wanted):
        count = len(said) if isinstance(said, list) else "no"
        yield f"the reply lists {count} items instead of {len(wanted)}"
        return
    for mine, right in zip(said, wanted, strict=True):
        if mine == right:
            continue
        item = right.get("item")
        if not isinstance(mine, dict):
            yield f"the line of the {item} is no object"
        elif mine.get("item") != item:
            yield f"a {_short(mine.get('item'))} appears in place of the {item}"
        elif mine.get("do") != right.get("do"):
            yield f"the {item} gets “{_short(mine.get('do'))}” instead of “{right.get('do')}”"
        elif mine.get("shelf") != right.get("shelf"):
            yield f"the {item} goes to shelf {_short(mine.get('shelf'))}, not {right.get('shelf')}"
        else:
            wrong = next((key for key in right if mine.get(key) != right[key]), "fields")
            yield f"the {item} has {wrong} {_short(mine.get(wrong))} instead of {right.get(wrong)}"


def _short(value, limit=24):
    text = "nothing" if value is None else str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
