"""Is a server well? One late answer is no illness and one good one no recovery, so the opinion lags on purpose."""

from __future__ import annotations


class Hysteresis:
    """Well until `down` checks in a row fail, ill until `up` in a row succeed.

    >>> health = Hysteresis(up=2, down=3)
    >>> [health.seen(ok) for ok in (False, False, True, False, False, False, True, True)]
    [True, True, True, True, True, False, False, True]
    """

    def __init__(self, up: int = 2, down: int = 3):
        if min(up, down) < 1:
            raise ValueError(f"up and down must be at least 1, got {up} and {down}")
        self.up, self.down, self.well, self.against = up, down, True, 0

    def seen(self, ok: bool) -> bool:
        """Take in one check; returns the opinion after it. `against` counts checks in a row that contradict it."""
        self.against = 0 if ok == self.well else self.against + 1
        if self.against >= (self.down if self.well else self.up):
            self.well, self.against = ok, 0
        return self.well
