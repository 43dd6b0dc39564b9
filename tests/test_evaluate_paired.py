"""Paired statistics against published figures, statsmodels' formulas by hand, and simulation."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from course_lib.evaluate.paired import Paired, items_needed, left_over, paired


def test_the_published_cases():
    p = Paired(1319, 46, 33)
    assert (round(100 * p.drop, 2), round(p.p_value, 3)) == (0.99, 0.177)
    assert [round(100 * end, 2) for end in p.interval()] == [-0.33, 2.31]
    assert round(Paired(1319, 60, 33).p_value, 4) == 0.0067
    assert items_needed(0.01, 0.05) == 3092


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (1, 0), (5, 5), (9, 2), (0, 12)])
def test_mcnemar_is_twice_the_tail_of_a_fair_coin(lost, won):
    flips = lost + won
    tail = 2 * binom.cdf(min(lost, won), flips, 0.5) if flips else 1.0
    assert Paired(100, lost, won).p_value == pytest.approx(min(1.0, tail))


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    lost, won, n = 0.04, 0.02, 1500
    draws = rng.multinomial(n, [lost, won, 1 - lost - won], size=2000)
    inside = [lo <= lost - won <= hi for b, c, _ in draws for lo, hi in [Paired(n, b, c).interval()]]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.015)


def test_so_many_items_prove_it_as_often_as_power_says():
    rng = np.random.default_rng(1)
    n, flips = items_needed(0.01, 0.05), 0.05
    draws = rng.multinomial(n, [flips / 2, flips / 2, 1 - flips], size=2000)
    assert np.mean([Paired(n, b, c).not_worse_by(0.01) for b, c, _ in draws]) == pytest.approx(0.8, abs=0.03)
    worse = rng.multinomial(n, [flips / 2 + 0.005, flips / 2 - 0.005, 1 - flips], size=2000)
    assert np.mean([Paired(n, b, c).not_worse_by(0.01) for b, c, _ in worse]) == pytest.approx(0.05, abs=0.015)


def constrained(pair, d):
    """The likeliest share of won items if the drop were d, found numerically."""
    from scipy.optimize import minimize_scalar

    def loss(p):
        shares = np.array([p + d, p, 1 - 2 * p - d])
        counts = np.array([pair.lost, pair.won, pair.n - pair.lost - pair.won])
        return -float(np.sum(counts[counts > 0] * np.log(np.maximum(shares[counts > 0], 1e-300))))

    return minimize_scalar(loss, bounds=(max(0.0, -d), (1 - d) / 2), method="bounded", options={"xatol": 1e-12}).x


@pytest.mark.parametrize(("n", "lost", "won"), [(50, 12, 2), (1319, 46, 33), (100, 3, 0), (40, 0, 4), (300, 26, 9)])
def test_the_score_bound_solves_its_equation(n, lost, won):
    pair = Paired(n, lost, won)
    d = pair.drop_high()
    p = constrained(pair, d)
    spread = math.sqrt(n * (2 * p + d * (1 - d)))
    assert (lost - won - n * d) / spread == pytest.approx(-1.6449, abs=2e-3)
    assert d == pytest.approx(pair.interval(0.90)[1], abs=0.04)


def test_what_is_left_over_falls_through_zero_at_the_bound_for_numbers_and_arrays_alike():
    counts = [(n, b, c) for n in (1, 30, 200) for b in range(min(n, 12) + 1) for c in range(min(n - b, 6) + 1)]
    n, b, c = np.array(counts).T
    bounds = np.array([Paired(*row).drop_high() for row in counts])
    for margin in (0.01, 0.1, 0.3):
        ruled_out = left_over(b, c, n, margin) < 0
        assert (ruled_out == (bounds < margin)).all() and 0 < ruled_out.sum() < len(counts)
        assert ruled_out.tolist() == [Paired(*row).not_worse_by(margin) for row in counts]


def test_without_flips_the_bound_is_wilson_s():
    from course_lib.evaluate.stats import wilson

    for n in (1, 10, 87, 88, 1000):
        assert Paired(n, 0, 0).drop_high() == pytest.approx(wilson(0, n, 0.90)[1])
    assert not Paired(87, 0, 0).not_worse_by(0.03) and Paired(88, 0, 0).not_worse_by(0.03)
    assert Paired(5, 5, 0).drop_high() == 1.0 and Paired(5, 0, 5).drop_high() < 0


def test_a_drop_of_zero_may_hide_flips():
    p = Paired(100, 10, 10)
    assert p.drop == 0 and p.flips == 0.2
    assert p.p_value == 1 and not p.not_worse_by(0.01) and p.not_worse_by(0.2)


def test_verdicts_are_counted():
    assert paired([1, 1, 0, 0], [1, 0, 1, 0]) == Paired(4, 1, 1)


def test_errors():
    for call, words in [
        (lambda: Paired(10, 6, 5), "counts that fit into n, got 6, 5 of 10"),
        (lambda: Paired(0, 0, 0), "counts that fit into n"),
        (lambda: paired([True], [True, False]), "same items, got 1 and 2"),
        (lambda: Paired(10, 1, 1).not_worse_by(1.0), "margin must be a share"),
        (lambda: items_needed(0, 0.1), "margin must be between 0 and 1"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
    assert math.isfinite(Paired(1, 1, 0).interval()[0])
