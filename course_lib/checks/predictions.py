"""Predict, then run: a guess is stored before the outcome is known, and shown beside it afterwards."""

import math

from course_lib.checks import render, store
from course_lib.checks.shorten import number

_UNKNOWN = object()


class Prediction(render.Shown):
    """A stored guess. Call `outcome(value)` when the value is known; that shows both."""

    def __init__(self, id: str, guess, unit: str = ""):
        self.id, self.guess, self.unit = id, guess, unit
        self.value, self.notes = None, []

    def outcome(self, value):
        """Store and show the outcome beside the guess; `value` may be a function without arguments. Returns self."""
        value = value() if callable(value) else value
        self.value = _plain(value, "outcome")
        self.notes = _save("outcome", self.id, guess=self.guess, outcome=self.value, unit=self.unit)
        return render.show(self)

    def rows(self) -> list[tuple[str, str]]:
        """The guess, the outcome and, for numbers, how far they are apart."""
        guess = "none" if self.guess is None else self._with_unit(self.guess)
        rows = [("your guess", guess)]
        if self.value is None:
            return rows
        rows.append(("outcome", self._with_unit(self.value)))
        if _is_number(self.guess) and _is_number(self.value):
            rows.append(("difference", self._with_unit(float(self.value) - float(self.guess), signed=True)))
        return rows

    def _with_unit(self, value, signed: bool = False) -> str:
        sign = "+" if signed and value > 0 else ""
        space = "" if self.unit in ("", "%") else " "
        return f"{sign}{number(value) if not isinstance(value, str) else value}{space}{self.unit}"

    def sentence(self) -> str:
        """What to do next, or what the comparison says."""
        if self.value is None:
            return "No guess yet: put one in place of None." if self.guess is None else "Stored. Now run the next cell."
        return "" if self.guess is not None else "You made no guess this time."

    def html(self) -> str:
        parts = f"<strong>Prediction {render.escape(self.id)}</strong>{render.table(self.rows())}"
        lines = [line for line in [self.sentence(), *self.notes] if line]
        return render.box(f"Prediction {self.id}", render.BARS["card"], parts + "".join(map(render.paragraph, lines)))

    def text(self) -> str:
        lines = [f"Prediction {self.id}"] + [f"    {name}: {value}" for name, value in self.rows()]
        return "\n".join([*lines, *[line for line in [self.sentence(), *self.notes] if line]])


def predict(id: str, guess=None, outcome=_UNKNOWN, unit: str = "") -> Prediction:
    """Store a guess (a number or a short text; None runs on), and show the outcome beside it when it is known.

    predict("ch01.bits", 30, unit="dB")                     # stores; p.outcome(value) later shows both
    predict("ch01.bits", 30, outcome=measure, unit="dB")    # stores, then runs measure(), then shows both
    Errors: TypeError when the guess is neither a number nor a text.
    """
    prediction = Prediction(id, _plain(guess, "guess"), unit)
    if prediction.guess is not None:
        prediction.notes = _save("predict", id, guess=prediction.guess, unit=unit)
    if outcome is not _UNKNOWN and outcome is not None:
        return prediction.outcome(outcome)
    return render.show(prediction)


def _save(event: str, id: str, **fields) -> list[str]:
    try:
        store.append(event, predict=id, **fields)
        return []
    except store.StoreError as err:
        return [f"Note: {err}."]


def _plain(value, what: str):
    """A number, a text or None. Errors: TypeError with one sentence."""
    if value is Ellipsis:
        return None
    if hasattr(value, "item") and getattr(value, "size", None) is not None and not isinstance(value, str):
        try:
            value = value.item()
        except (ValueError, RuntimeError):
            pass
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return value[:200]
    raise TypeError(f"{what} must be a number, a short text or None, got {type(value).__name__}")


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def all_predictions() -> dict[str, tuple]:
    """For each prediction with an outcome: (first guess, last outcome, unit). Chapter 15 plots them."""
    found: dict[str, tuple] = {}
    for record in store.records("outcome"):
        id, guess = record.get("predict"), record.get("guess")
        if not isinstance(id, str) or guess is None:
            continue
        first = found[id][0] if id in found else guess
        found[id] = (first, record.get("outcome"), record.get("unit", ""))
    return found
