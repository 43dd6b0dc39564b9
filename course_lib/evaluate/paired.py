"""Two models on the same items: only the items where they differ say anything.

b items went from right to wrong, c from wrong to right, of n. The drop is (b − c)/n. Under "no difference" each of the
b + c flips is a coin toss (McNemar, 1947).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True)
class Paired:
    """What n paired items say; shares are fractions, a positive drop is a loss.

    >>> p = Paired(n=1319, lost=46, won=33)
    >>> round(100 * p.drop, 2), round(p.p_value, 3), [round(100 * end, 2) for end in p.interval()]
    (0.99, 0.177, [-0.33, 2.31])
    """

    n: int
    lost: int  # right before, wrong now
    won: int  # wrong before, right now

    def __post_init__(self):
        if self.n < 1 or min(self.lost, self.won) < 0 or self.lost + self.won > self.n:
            raise ValueError(f"lost and won must be counts that fit into n, got {self.lost}, {self.won} of {self.n}")

    @property
    def drop(self) -> float:
        return (self.lost - self.won) / self.n

    @property
    def flips(self) -> float:
        """Share of items whose verdict changed, in whichever direction: what a drop of 0 may hide."""
        return (self.lost + self.won) / self.n

    @property
    def p_value(self) -> float:
        """Exact two-sided McNemar test: the chance that fair coins split b + c flips at least as unevenly."""
        from scipy.stats import binomtest  # not with the package: scipy takes a while

        flips = self.lost + self.won
        return float(binomtest(self.lost, flips, 0.5).pvalue) if flips else 1.0

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Two-sided interval of the drop: d ± z·√(b + c − (b − c)²/n)/n (Wald, for paired shares)."""
        z = NormalDist().inv_cdf((1 + confidence) / 2)
        half = z * math.sqrt(self.lost + self.won - (self.lost - self.won) ** 2 / self.n) / self.n
        return self.drop - half, self.drop + half

    def drop_high(self, alpha: float = 0.05) -> float:
        """Upper end of the one-sided score interval of the drop (Tango, 1998): right where few items flip, or none.

            (b − c − n·d) / √(n·(2p + d·(1 − d))) = −z      p: the likeliest share of won items if the drop is d

        Wald's interval has no width where nothing flips, and would let ten items prove anything.

        >>> round(Paired(n=100, lost=0, won=0).drop_high(), 4), round(Paired(n=1319, lost=46, won=33).drop_high(), 4)
        (0.0263, 0.0212)
        """
        from scipy.optimize import brentq

        def left(d: float) -> float:
            return float(left_over(self.lost, self.won, self.n, d, alpha))

        return 1.0 if left(1.0) >= 0 else float(brentq(left, self.drop + 1e-12, 1.0))

    def not_worse_by(self, margin: float, alpha: float = 0.05) -> bool:
        """Non-inferiority: the upper end of the one-sided interval of the drop lies below `margin`.

        "No significant drop" is no proof of "no drop"; this is. The margin is chosen before looking.
        """
        if not 0 < margin < 1:
            raise ValueError(f"margin must be a share between 0 and 1, such as 0.01 for a point, got {margin}")
        return bool(left_over(self.lost, self.won, self.n, margin, alpha) < 0)


def left_over(lost, won, n, drop, alpha=0.05):
    """b − c − n·d + z·√(n·(2p + d·(1 − d))): below 0 where a drop of d is ruled out; for numbers, and for arrays.

    It falls with d and is 0 at `Paired.drop_high`, which says what p is.

    >>> bool(left_over(0, 0, 100, 0.0264) < 0 < left_over(0, 0, 100, 0.0263))
    True
    """
    import numpy as np

    half = -lost - won + (2 * n - lost + won) * drop
    spread = drop * (1 - drop)
    p = (np.sqrt(np.maximum(0.0, half**2 + 8 * n * won * spread)) - half) / (4 * n)
    return lost - won - n * drop + NormalDist().inv_cdf(1 - alpha) * np.sqrt(n * np.maximum(0.0, 2 * p + spread))


def paired(base: Sequence[bool], other: Sequence[bool]) -> Paired:
    """Count the flips between two lists of verdicts on the same items.

    >>> paired([True, True, False, True], [True, False, True, False])
    Paired(n=4, lost=2, won=1)
    """
    if len(base) != len(other) or not len(base):
        raise ValueError(f"base and other must be verdicts on the same items, got {len(base)} and {len(other)}")
    pairs = [(bool(a), bool(b)) for a, b in zip(base, other, strict=True)]
    return Paired(len(pairs), pairs.count((True, False)), pairs.count((False, True)))


def items_needed(margin: float, flips: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """Items that prove a loss below `margin` when there is none and a share `flips` of verdicts changes.

    n = (z_{1−alpha} + z_{power})²·flips/margin², one-sided. ValueError outside 0…1.

    >>> items_needed(margin=0.01, flips=0.05)
    3092
    """
    for name, value in (("margin", margin), ("flips", flips), ("alpha", alpha), ("power", power)):
        if not 0 < value < 1:
            raise ValueError(f"{name} must be between 0 and 1, got {value}")
    return math.ceil((NormalDist().inv_cdf(1 - alpha) + NormalDist().inv_cdf(power)) ** 2 * flips / margin**2)
