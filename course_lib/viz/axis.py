"""Numbers along a line of pixels: positions, round ticks, and how a figure is written in pictures and sentences."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """Maps values lo…hi to pixels start…end; `log` spaces decades equally.

    >>> Axis(0, 10, 100, 200)(2.5)
    125.0
    """

    lo: float
    hi: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value):
        lo, hi, v = (math.log10(n) for n in (self.lo, self.hi, value)) if self.log else (self.lo, self.hi, value)
        return self.start + (v - lo) / (hi - lo) * (self.end - self.start)

    def inside(self, value):
        """The pixel of `value`, held within the axis."""
        return self(min(max(value, self.lo), self.hi))

    def ticks(self, count=6):
        """About `count` round values within lo…hi (decades on a log axis): Axis(0, 1, 0, 1).ticks(5) -> 0, 0.2 … 1."""
        if self.log:
            first, last = math.ceil(math.log10(self.lo) - 1e-9), math.floor(math.log10(self.hi) + 1e-9)
            stride = max(1, math.ceil((last - first + 1) / count))
            return [10.0**k for k in range(first, last + 1, stride)]
        step = nice_step((self.hi - self.lo) / count)
        first, last = math.ceil(self.lo / step - 1e-9), math.floor(self.hi / step + 1e-9)
        return [k * step for k in range(first, last + 1)]


def nice_step(width):
    """The nearest of 1, 2, 5 x a power of ten at or above `width`: nice_step(0.13) == 0.2."""
    power = 10.0 ** math.floor(math.log10(width))
    return power * next(m for m in (1, 2, 5, 10) if m * power >= width * (1 - 1e-9))


def number(value, digits=3):
    """A figure as prose writes it: `digits` significant, a true minus sign, an exponent only below a thousandth.

    >>> number(0.034286), number(-0.25), number(140.0), number(1234567.0), number(5.84e-5)
    ('0.0343', '−0.25', '140', '1,234,567', '5.84e−5')
    """
    if math.isnan(value) or math.isinf(value):
        return "not a number" if math.isnan(value) else "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    if abs(value) < 1e-3:
        mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
        return f"{mantissa}e{int(power)}".replace("-", "−")
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{abs(value):,.{places}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return ("−" if value < 0 else "") + text


def plural(count, noun):
    """`plural(1, "token") == "1 token"`, `plural(2, "token") == "2 tokens"`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
