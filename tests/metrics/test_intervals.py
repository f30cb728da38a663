"""Bootstrap intervals: closed forms where they exist, coverage by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tunesmith.metrics import intervals
from tunesmith.metrics.intervals import Estimate, mean_interval, paired_difference, ratio_interval


def test_the_interval_of_a_mean_has_the_width_of_the_normal_one() -> None:
    # with n = 400 the bootstrap distribution of the mean is normal with sd = population sd / sqrt(n)
    values = np.random.default_rng(1).normal(5, 2, 400)
    found = mean_interval(values)
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean(), abs=1e-12)
    assert found.n == 400
    # 2000 resamples know a 2.5% quantile to about 0.06 sd of the mean
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_two_values_have_the_three_means_of_the_binomial() -> None:
    # resamples of {0, 1}: 0 and 1 with probability 1/4 each, so the middle 95% reaches both
    assert mean_interval([0.0, 1.0]) == Estimate(0.5, 0.0, 1.0, 2)
    assert mean_interval([0.25]) == Estimate(0.25, -math.inf, math.inf, 1)


def test_a_ratio_divides_sums_and_redraws_units() -> None:
    found = ratio_interval([2.0, 6.0, 99.0], [1.0, 3.0, 0.0])
    assert found == Estimate(2.0, 2.0, 2.0, 2), "every unit has ratio 2; the unit without tokens does not count"
    assert ratio_interval([10.0, 1.0], [1.0, 9.0]).value == pytest.approx(1.1)


def test_pairing_removes_what_the_units_share() -> None:
    rng = np.random.default_rng(2)
    before = rng.normal(0, 100, 200)
    after = before + rng.normal(1, 0.1, 200)
    found = paired_difference(before, after)
    assert found.high - found.low < 0.05
    assert found.low < 1 < found.high


def test_the_seed_decides_and_the_chunking_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(3).normal(size=50)
    once = mean_interval(values)
    assert mean_interval(values) == once
    assert mean_interval(values, seed=1).low != once.low
    monkeypatch.setattr(intervals, "_DRAWS_AT_ONCE", 1000)
    chunked = mean_interval(values)
    assert chunked.value == once.value
    assert chunked.low == pytest.approx(once.low, abs=0.05)


def test_increasing_functions_go_through() -> None:
    doubled = Estimate(1.0, 0.5, 2.0, 3).mapped(lambda x: x * 2)
    assert doubled.as_dict() == {"value": 2.0, "low": 1.0, "high": 4.0, "n": 3}


def test_nothing_measured_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one unit"):
        mean_interval([])
    with pytest.raises(ValueError, match="at least one unit"):
        ratio_interval([1.0], [0.0])
    with pytest.raises(ValueError, match="equally many"):
        paired_difference([1.0], [1.0, 2.0])


@pytest.mark.slow
@pytest.mark.parametrize("statistic", ["mean", "ratio"])
def test_intervals_cover_the_truth_in_about_95_of_100_cases(statistic: str) -> None:
    """1,500 data sets of 100 units: the share covered is known to 0.6 points, the method's own bias is about -0.5."""
    rng = np.random.default_rng(4)
    covered = 0
    for trial in range(1500):
        if statistic == "mean":
            found, truth = mean_interval(rng.gamma(4.0, 0.5, 100), seed=trial), 2.0
        else:
            # tokens a sequence are random and the loss a token varies by sequence: E[nll] / E[tokens] = 1.5
            tokens = rng.integers(20, 120, 100)
            found, truth = ratio_interval(tokens * rng.normal(1.5, 0.4, 100), tokens, seed=trial), 1.5
        covered += found.low <= truth <= found.high
    assert 0.93 <= covered / 1500 <= 0.97


def test_a_unanimous_proportion_has_wilson_s_interval() -> None:
    """0 of 40: the upper bound is z²/(n + z²) with z = 1.96, that is 3.8415/43.8415."""
    none, everything = mean_interval([0.0] * 40), mean_interval([1.0] * 40)
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(3.8415 / 43.8415, rel=1e-4)
    assert (everything.value, everything.high) == (1.0, 1.0)
    assert everything.low == pytest.approx(1 - 3.8415 / 43.8415, rel=1e-4)
