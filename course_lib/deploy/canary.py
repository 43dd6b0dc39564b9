"""A candidate on a small share of real traffic: who is sent to it, and when that ends, and how.

Every request that the candidate answers is also put to the incumbent, so that the two are compared in pairs. The number
of pairs is fixed beforehand: whoever looks after each and stops at the first good moment fools himself.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

from course_lib.evaluate.paired import Paired
from course_lib.evaluate.serving import percentile


def in_share(user: str, share: float) -> bool:
    """Does this user belong to the share? Always the same answer for a user, and a larger share keeps the smaller's.

    The first 8 bytes of SHA-256, as a number from 0 to 1, lie below the share. (Python's own hash() is salted anew in
    every process.)

    >>> [in_share("ada", share) for share in (0.0, 0.5, 1.0)]
    [False, False, True]
    """
    return int.from_bytes(hashlib.sha256(user.encode()).digest()[:8], "big") < share * 2**64


@dataclass(frozen=True)
class CanaryPolicy:
    """Fixed before the first request.

    share     of the users who are sent to the candidate
    pairs     requests after which it is decided
    margin    share of good replies that may be lost, at 95 % confidence
    differ    share of replies that may say something else than the incumbent's, good or not
    errors    so many unanswered requests end it at once
    slower    its 95th percentile may be so many times the incumbent's
    """

    share: float = 0.2
    pairs: int = 60
    margin: float = 0.1
    differ: float = 0.3
    errors: int = 1
    slower: float = 3.0

    def __post_init__(self):
        for name in ("share", "margin", "differ"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {getattr(self, name)}")
        needed = -int(-3 // self.margin)  # rule of three: nothing lost in n leaves room for 3/n, at 95 %
        if self.pairs < needed:
            raise ValueError(f"pairs must be at least {needed} for a margin of {self.margin:g}, got {self.pairs}")
        if self.errors < 1 or self.slower <= 0:
            raise ValueError(f"errors must be at least 1 and slower above 0, got {self.errors} and {self.slower}")

    @cached_property
    def may_lose(self) -> int:
        """The most losses, with no win, after which all pairs together could still be within the margin."""
        held = [k for k in range(self.pairs + 1) if Paired(self.pairs, k, 0).not_worse_by(self.margin)]
        return max(held, default=-1)

    def judge(self, pairs: int, lost: int, won: int) -> str:
        """What so many pairs say of the good replies: "running", "promoted" or "rolled back".

        >>> policy = CanaryPolicy(pairs=60, margin=0.1)
        >>> policy.may_lose, policy.judge(20, 2, 0), policy.judge(20, 3, 0), policy.judge(60, 2, 0)
        (2, 'running', 'rolled back', 'promoted')
        """
        if lost - won > self.may_lose:
            return "rolled back"
        if pairs < self.pairs:
            return "running"
        return "promoted" if Paired(pairs, lost, won).not_worse_by(self.margin) else "rolled back"


@dataclass
class Canary:
    """What was seen so far. `state` is "running", "promoted" or "rolled back"; `reason` is the sentence behind it."""

    policy: CanaryPolicy = field(default_factory=CanaryPolicy)
    state: str = "running"
    reason: str = ""
    errors: int = 0
    lost: int = 0
    won: int = 0
    differed: int = 0
    seconds: list[tuple[float, float]] = field(default_factory=list)  # (candidate, incumbent) of each pair

    def failed(self, why: str) -> None:
        """The candidate did not answer."""
        self.errors += 1
        if self.errors >= self.policy.errors:
            self._end("rolled back", f"the candidate left {self.errors} unanswered: {why}")

    def compared(
        self, candidate_good: bool, incumbent_good: bool, seconds: tuple[float, float], same: bool = True
    ) -> None:
        """Both have answered the same request."""
        self.seconds.append(seconds)
        self.lost += incumbent_good and not candidate_good
        self.won += candidate_good and not incumbent_good
        self.differed += not same
        policy, told = self.policy, f"in {len(self.seconds)} pairs"
        judged = policy.judge(len(self.seconds), self.lost, self.won)
        if judged == "rolled back" and self.lost - self.won > policy.may_lose:
            told = f"good replies: {self.lost} lost and {self.won} won {told}"
            self._end("rolled back", f"{told}: all {policy.pairs} would not keep it below {policy.margin:.0%}")
        elif self.differed > policy.differ * policy.pairs:
            told = f"{self.differed} replies say something else {told}"
            self._end("rolled back", f"{told}: of {policy.pairs} at most {policy.differ:.0%} may")
        elif len(self.seconds) >= policy.pairs:
            self._decide(judged)

    def _decide(self, judged: str) -> None:
        pair = Paired(len(self.seconds), self.lost, self.won)
        candidate, incumbent = (percentile(column, 0.95) for column in zip(*self.seconds, strict=True))
        told = f"{pair.n} pairs, {self.lost} lost, {self.won} won, {self.differed} differ"
        told += f", p95 {candidate * 1e3:.0f} ms against {incumbent * 1e3:.0f}"
        if judged == "rolled back":
            self._end("rolled back", f"{told}: the loss may exceed {self.policy.margin:.0%}")
        elif candidate > self.policy.slower * incumbent:
            self._end("rolled back", f"{told}: more than {self.policy.slower:g} times as slow")
        else:
            self._end("promoted", told)

    def end(self, why: str) -> None:
        """Take it back by hand."""
        self._end("rolled back", why)

    def _end(self, state: str, reason: str) -> None:
        if self.state == "running":  # what ended does not end again
            self.state, self.reason = state, reason
