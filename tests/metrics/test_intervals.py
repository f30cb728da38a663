"""Bootstrap intervals: closed forms where they exist, coverage by simulation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from tunesmith.metrics import intervals
from tunesmith.metrics.intervals import (
    Estimate,
    mean_interval,
    paired_difference,
    paired_sums,
    ratio_interval,
    resampled,
    share_interval,
)
from tunesmith.metrics.perplexity import Losses, Perplexity


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
    # resamples of {0, 2}: 0 and 2 with probability 1/4 each, so the middle 95% reaches both
    assert mean_interval([0.0, 2.0]) == Estimate(1.0, 0.0, 2.0, 2)
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


def test_yes_or_no_values_have_the_interval_of_their_share() -> None:
    assert mean_interval([0.0, 1.0, 1.0, 0.0, 1.0]) == share_interval(3, 5)
    assert mean_interval([0.0, 1.0, 0.5]).high == 1.0, "a half is no share: redrawn"


def test_the_interval_reaches_further_to_the_skewed_side() -> None:
    """Quantiles of 100 exponentials. With ``s`` the skewness of the mean and ``z = 1.96``, in units of its deviation,
    the plain bounds are ``z ∓ s (1 − z²) / 6`` away to first order, and BCa's ``z ± s (1 + 2 z²) / 6`` (Efron 1987,
    section 7): the outer ones are BCa's on the skewed side, and the plain one on the other."""
    values = -np.log1p(-(np.arange(100) + 0.5) / 100)
    deviation = values.std() / 10
    skewness = float(((values - values.mean()) ** 3).mean() / values.std() ** 3) / 10
    far, near = 1.96 + skewness * (1 + 2 * 1.96**2) / 6, 1.96 + skewness * (1 - 1.96**2) / 6
    for sign in (1, -1):
        found = mean_interval(sign * values)
        arms = (found.high - found.value, found.value - found.low)[::sign]
        assert arms[0] == pytest.approx(far * deviation, rel=0.04)
        assert arms[1] == pytest.approx(near * deviation, rel=0.04)


def test_few_units_are_wider_by_student_s_t() -> None:
    """t(0.975, 9) = 2.262 and t(0.975, 99) = 1.984, from tables."""
    assert intervals._student(1.959964, 9) == pytest.approx(2.262, abs=1e-3)
    assert intervals._student(1.959964, 99) == pytest.approx(1.984, abs=1e-3)
    values = np.random.default_rng(0).normal(size=10)
    values = np.concatenate([values, -values])  # symmetric: no skew to correct
    found = mean_interval(values, seed=2)
    half = 2.093 * values.std() / math.sqrt(19)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.06)


def test_paired_sums_are_the_difference_of_two_figures() -> None:
    """Of means it is the mean of the differences; the units that count in neither are left out."""
    rng = np.random.default_rng(6)
    before, after = rng.normal(0, 50, 60), rng.normal(0, 1, 60)
    after += before
    ones = np.ones(60)
    parts = [np.concatenate([np.stack([one, ones], axis=1), np.zeros((5, 2))]) for one in (before, after)]
    found, wanted = paired_sums(parts[0], parts[1], _mean), paired_difference(before, after)
    assert (found.value, found.n) == (pytest.approx(wanted.value), 60)
    assert (found.low, found.high) == (pytest.approx(wanted.low), pytest.approx(wanted.high))
    with pytest.raises(ValueError, match="at least one unit"):
        paired_sums(parts[0][60:], parts[1][60:], _mean)
    with pytest.raises(ValueError, match="not a number"):
        paired_sums(parts[0][:3], np.zeros((3, 2)), _mean)


def test_a_statistic_of_places_agrees_with_the_sums_it_could_be() -> None:
    values = np.random.default_rng(7).gamma(1.0, 1.0, 300)
    found = resampled(lambda places: {"mean": float(values[places].mean()), "none": math.nan}, 300)
    wanted = mean_interval(values)
    assert set(found) == {"mean"}
    assert (found["mean"].low, found["mean"].high) == (
        pytest.approx(wanted.low, abs=0.02),
        pytest.approx(wanted.high, abs=0.02),
    )
    shifted = resampled(
        lambda places: {"mean": float(values[places].mean()) + 0.5},
        300,
        before=lambda places: {"mean": float(values[places].mean())},
    )["mean"]
    assert (shifted.value, shifted.low, shifted.high) == (pytest.approx(0.5), pytest.approx(0.5), pytest.approx(0.5))


def test_the_skew_of_a_statistic_is_that_of_leaving_units_out() -> None:
    """Few skewed units, so that the correction is seen; the same figure as sums and as a statistic of places."""
    values = np.random.default_rng(3).lognormal(0.0, 1.2, 40)
    found, wanted = resampled(lambda at: {"mean": float(values[at].mean())}, 40)["mean"], mean_interval(values)
    plain = found.value + (found.value - found.low)
    assert found.high > plain
    assert found.high - found.value == pytest.approx(wanted.high - wanted.value, rel=0.06)


def _mean(sums: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1])


def _losses(rng: np.random.Generator, units: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of sequences, and nats that vary by sequence, both skewed; 1.5 nats a token."""
    tokens = np.ceil(rng.lognormal(4.0, 0.5, units))
    return tokens * rng.gamma(2.0, 0.75, units), tokens


def _skewed_mean(rng: np.random.Generator, trial: int) -> tuple[Estimate, float]:
    return mean_interval(rng.exponential(size=100), seed=trial), 1.0


def _few_normal(rng: np.random.Generator, trial: int) -> tuple[Estimate, float]:
    return mean_interval(rng.normal(size=15), seed=trial), 0.0


def _nats_a_token(rng: np.random.Generator, trial: int) -> tuple[Estimate, float]:
    return ratio_interval(*_losses(rng, 100), seed=trial), 1.5


def _perplexity(rng: np.random.Generator, trial: int) -> tuple[Estimate, float]:
    nll, tokens = _losses(rng, 100)
    return Perplexity().of(Losses(nll, tokens, tokens), seed=trial), math.exp(1.5)


def _few_that_changed(rng: np.random.Generator, trial: int) -> tuple[Estimate, float]:
    before = (rng.random(60) < 0.5).astype(float)
    after = np.where(rng.random(60) < 0.3, rng.random(60) < 0.8, before)  # 0.3 * (0.8 - 0.5)
    return paired_difference(before, after, seed=trial), 0.09


def _paired_ratio(rng: np.random.Generator, trial: int) -> tuple[Estimate, float]:
    nll, tokens = _losses(rng, 100)
    after = nll * 0.5 + tokens * rng.exponential(0.5, 100)  # 1.5 -> 0.75 + 0.5
    parts = [np.stack([one, tokens], axis=1) for one in (nll, after)]
    return paired_sums(parts[0], parts[1], _mean, seed=trial), -0.25


@pytest.mark.slow
@pytest.mark.parametrize(
    "drawn",
    [_skewed_mean, _few_normal, _nats_a_token, _perplexity, _few_that_changed, _paired_ratio],
    ids=lambda drawn: drawn.__name__.lstrip("_"),
)
def test_intervals_cover_the_truth_in_about_95_of_100_cases(
    drawn: Callable[[np.random.Generator, int], tuple[Estimate, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,200 data sets: the share covered is known to 0.6 points."""
    monkeypatch.setattr(intervals, "RESAMPLES", 600)
    rng = np.random.default_rng(4)
    covered = 0
    for trial in range(1200):
        found, truth = drawn(rng, trial)
        covered += found.low <= truth <= found.high
    assert 0.93 <= covered / 1200 <= 0.97


def test_a_unanimous_proportion_has_wilson_s_interval() -> None:
    """0 of 40: the upper bound is z²/(n + z²) with z = 1.96, that is 3.8415/43.8415."""
    none, everything = mean_interval([0.0] * 40), mean_interval([1.0] * 40)
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(3.8415 / 43.8415, rel=1e-4)
    assert (everything.value, everything.high) == (1.0, 1.0)
    assert everything.low == pytest.approx(1 - 3.8415 / 43.8415, rel=1e-4)
