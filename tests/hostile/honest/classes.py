"""Answers that are objects with __call__, methods and static methods."""

CELLS = {
    "q1": """
class SpareCode:
    def __init__(self, zero_scale):
        self.zero_scale = zero_scale

    def __call__(self, w, b):
        star = w[w.abs().argmax()].item()
        s = -star / 2 ** (b - 1) if star else self.zero_scale
        return (w / s).round().clamp(-(2 ** (b - 1)), 2 ** (b - 1) - 1).char(), s


spare_code = SpareCode(1.0)
""",
    "q2": """
class Bits:
    MASK = 0xFFFF

    @classmethod
    def up(cls, s):
        return (s.view(torch.int32) + cls.MASK & ~cls.MASK).view(torch.float32)


scale_up = Bits.up
""",
    "q5": """
import dataclasses


@dataclasses.dataclass(frozen=True)
class Grid:
    step: float
    zero: int
    top: int

    @staticmethod
    def of(w, b):
        lo, hi, top = min(0.0, w.min().item()), max(0.0, w.max().item()), (1 << b) - 1
        step = (hi - lo) / top if hi > lo else 1.0
        return Grid(step, round(-lo / step), top)

    def round_trip(self, w):
        return ((w / self.step).round().add(self.zero).clip(0, self.top) - self.zero) * self.step


def asym_round_trip(w, b):
    return Grid.of(w, b).round_trip(w)
""",
}
