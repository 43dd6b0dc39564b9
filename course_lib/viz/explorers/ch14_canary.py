"""Chapter 14: a canary that is decided once, and the same one ended at the first good moment."""

import functools
from dataclasses import dataclass

import numpy as np

from course_lib.viz.axis import Axis
from course_lib.viz.controls import Slider, Steps
from course_lib.viz.explorer import Explorer
from course_lib.viz.scene import Scene

CANARIES, SHOWN, BY_CHANCE = 2000, 24, 0.03  # simulated, drawn; share of replies that are good only at the candidate
PAIRS, MARGIN = 200, 0.1
RATES = tuple((str(n), n) for n in (1, 2, 5, 10, 20))
WIDTH, HEIGHT, TOP, FOOT = 760, 458, 58, 314
PANELS = (48, 434)  # where the two begin
WIDE, LOW, HIGH = 310, -6, 20


@dataclass(frozen=True)
class Ended:
    """How all canaries ended under one rule, a value for each."""

    pairs: np.ndarray  # after which it ended
    promoted: np.ndarray
    lost: np.ndarray  # good replies until then
    won: np.ndarray

    @property
    def share(self):
        return float(self.promoted.mean())


@dataclass(frozen=True)
class Seen:
    """The net losses of every canary after every pair, and how both rules end it."""

    drop: int
    rate: int
    net: np.ndarray  # (CANARIES, PAIRS)
    may_lose: int
    once: Ended
    first: Ended


@functools.cache
def policy():
    """The rule of `deploy.canary`, for good replies alone."""
    from course_lib.deploy.canary import CanaryPolicy

    return CanaryPolicy(pairs=PAIRS, margin=MARGIN)


@functools.cache
def drawn():
    """A number from 0 to 1 for every pair of every canary: always the same, so that a slider moves nothing else."""
    return np.random.default_rng(22).random((CANARIES, PAIRS))  # a seed whose first ones are like all


@functools.lru_cache(maxsize=32)
def counts(drop):
    """(lost, won) after each pair, (CANARIES, PAIRS): the candidate wins by chance, and loses so many points more."""
    u = drawn()
    return (u > 1 - BY_CHANCE - drop / 100).cumsum(1), (u < BY_CHANCE).cumsum(1)


def first(flags):
    """The first column of each row that is true, or PAIRS."""
    return np.where(flags.any(1), flags.argmax(1), PAIRS)


@functools.lru_cache(maxsize=64)
def decided_once(drop):
    """Every canary by the policy's `judge`: taken back as soon as it lost too many, else decided after all pairs."""
    lost, won = counts(drop)
    rows, at = np.arange(CANARIES), np.minimum(first(lost - won > policy().may_lose), PAIRS - 1)
    ends = np.stack([at + 1, lost[rows, at], won[rows, at]], 1)
    kinds, which = np.unique(ends, axis=0, return_inverse=True)
    promoted = np.array([policy().judge(*map(int, kind)) == "promoted" for kind in kinds])[which.ravel()]
    return Ended(ends[:, 0], promoted, ends[:, 1], ends[:, 2])


@functools.lru_cache(maxsize=64)
def first_good_moment(drop, rate):
    """The same, looked at after every minute, and promoted at the first look at which all would be well."""
    from course_lib.evaluate.paired import left_over

    lost, won = counts(drop)
    once, looks = decided_once(drop), np.arange(rate, PAIRS + 1, rate)
    good = left_over(lost[:, looks - 1], won[:, looks - 1], looks, MARGIN) < 0
    at = np.concatenate([looks, [PAIRS + 1]])[np.minimum(first(good), len(looks))]
    early = at <= once.pairs - ~once.promoted  # not before it is taken back
    pairs = np.where(early, at, once.pairs)
    ends = np.arange(CANARIES), pairs - 1
    return Ended(pairs, early | once.promoted, lost[ends], won[ends])


class Canary(Explorer):
    """Two panels of simulated canaries, good replies lost over pairs: decided once, and at the first good moment."""

    name = "canary"
    controls = (
        Slider("drop", "points it loses", 0, 20, 1, 10),
        Steps("rate", "pairs a minute", RATES, 2),
    )

    def numbers(self, drop, rate):
        lost, won = counts(int(drop))
        return Seen(int(drop), rate, lost - won, policy().may_lose, decided_once(int(drop)),
                    first_good_moment(int(drop), rate))  # fmt: skip

    def sentence(self, s):
        verdicts = [f"{e.share:.0%} are promoted, after {e.lost.mean():.1f} good replies lost in "
                    f"{e.pairs.mean() / s.rate:.0f} minutes" for e in (s.once, s.first)]  # fmt: skip
        points = "1 point" if s.drop == 1 else f"{s.drop} points"
        return (f"{CANARIES:,} candidates that lose {points} of good replies; fewer than {100 * MARGIN:.0f} may go. "
                f"Decided once, after {PAIRS} pairs: {verdicts[0]}. "
                f"Looked at every minute and ended at the first good moment: {verdicts[1]}.")  # fmt: skip

    def draw(self, s):
        scene = Scene(WIDTH, HEIGHT)
        for left, ended, title in zip(PANELS, (s.once, s.first), (f"decided once, after {PAIRS} pairs",
                                      "at the first good moment"), strict=True):  # fmt: skip
            x, y = Axis(0, PAIRS, left, left + WIDE), Axis(LOW, HIGH, FOOT, TOP)
            _frame(scene, s, x, y, title)
            _paths(scene, s, ended, x, y)
            _outcome(scene, s, ended, left)
        _limits(scene, s)
        return scene


def _frame(scene, s, x, y, title):
    scene.text(x.start - 32, 22, title, size=14, bold=True, anchor="start")
    scene.text(x.start - 32, 44, "good replies lost, less those won", size=12, color="muted", anchor="start")
    for tick in (-5, 0, 5, 10, 15, 20):
        scene.line(x.start, y(tick), x.end, y(tick), "ink" if tick == 0 else "faint", 1)
        scene.text(x.start - 7, y(tick) + 4, f"{tick}".replace("-", "−"), size=12, color="muted", anchor="end")
    for tick in range(0, PAIRS + 1, 50):
        scene.text(x(tick), y.start + 18, tick, size=12, color="muted")
    scene.text(x.end, y.start + 34, "pairs", size=12, color="muted", anchor="end")


def _paths(scene, s, ended, x, y):
    """The first canaries: a line until each ends, a circle where it is promoted, a diamond where it is taken back."""
    for k in range(SHOWN):
        pairs = int(ended.pairs[k])
        steps = [0, *(n + 1 for n in range(pairs) if n + 1 == pairs or s.net[k, n] != s.net[k, min(n + 1, pairs - 1)])]
        points = [(x(n), y.inside(s.net[k, n - 1] if n else 0)) for n in steps]
        scene.path(points, "muted", 1, opacity=0.55)
    for k in range(SHOWN):
        at = x(int(ended.pairs[k])), y.inside(ended.lost[k] - ended.won[k])
        mark = scene.circle if ended.promoted[k] else scene.diamond
        mark(*at, 5, "green" if ended.promoted[k] else "red", "paper", 1)


def _limits(scene, s):
    """Left: beyond the line at once, the rest at the end. Right: the same line, and a curve for the good moments."""
    y = Axis(LOW, HIGH, FOOT, TOP)
    for left in PANELS:
        scene.line(left, y(s.may_lose + 0.5), left + WIDE, y(s.may_lose + 0.5), "red", 2, (6, 3))
        scene.text(left + 4, y(s.may_lose + 3.4), f"more than {s.may_lose}: taken back", size=12, color="red",
                   anchor="start", halo=True)  # fmt: skip
    x = Axis(0, PAIRS, PANELS[0], PANELS[0] + WIDE)
    scene.line(x(PAIRS), y.start, x(PAIRS), y(good_moments(s.rate)[-1][1]), "green", 4)
    scene.text(x(PAIRS) - 6, y.start - 8, "promoted if it ends here", size=12, color="green", anchor="end", halo=True)
    x = Axis(0, PAIRS, PANELS[1], PANELS[1] + WIDE)
    curve = [(x(n), y.inside(net)) for n, net in good_moments(s.rate)]
    scene.path(curve, "green", 2.5)
    scene.text(x(PAIRS) - 6, y.start - 8, "below the curve: promoted", size=12, color="green", anchor="end", halo=True)


@functools.cache
def good_moments(rate):
    """[(pairs, most net losses at which a look says that all is well)], for as many wins as chance brings."""
    from course_lib.evaluate.paired import left_over

    nets, found = np.arange(LOW, HIGH + 1), []
    for n in range(rate, PAIRS + 1, rate):
        won = round(BY_CHANCE * n)
        fine = nets[(nets + won >= 0) & (left_over(nets + won, won, n, MARGIN) < 0)]
        if len(fine):
            found.append((n, int(fine.max()) + 0.5))
    return found


def _outcome(scene, s, ended, left):
    """A bar of promoted and taken back, and the price."""
    x, y = Axis(0, 1, left - 32, left + WIDE), HEIGHT - 74
    edge = x(ended.share)
    scene.rect(x.start, y, edge - x.start, 24, fill="green")
    scene.rect(edge, y, x.end - edge, 24, fill="card", color="red", line=1)
    scene.hatch(edge, y, x.end - edge, 24, "red", gap=7, width=0.8)
    wrong = (", wrongly", "") if s.drop >= 100 * MARGIN else ("", ", wrongly")
    scene.text(x.start, y - 7, f"● promoted{wrong[0]}: {ended.share:.0%}", size=13, bold=True, color="green",
               anchor="start")  # fmt: skip
    scene.text(x.end, y - 7, f"◆ taken back{wrong[1]}: {1 - ended.share:.0%}", size=13, bold=True, color="red",
               anchor="end")  # fmt: skip
    scene.text(x.start, y + 44, f"until then {ended.lost.mean():.1f} good replies lost, "
               f"{ended.pairs.mean() / s.rate:.0f} minutes", size=13, anchor="start")  # fmt: skip


def canary(**start):
    """The second explorer of chapter 14: `canary(drop=10, rate=2)`."""
    return Canary(**start)
