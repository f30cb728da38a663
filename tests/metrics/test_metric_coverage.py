"""Intervals of the metrics: simulated coverage, against a truth known from a large population."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tunesmith.metrics import intervals
from tunesmith.metrics.base import Figure, Unit
from tunesmith.metrics.chrf import Chrf
from tunesmith.metrics.distinct import Distinct
from tunesmith.metrics.exact_match import ExactMatch
from tunesmith.metrics.intervals import share_interval, sums_interval
from tunesmith.metrics.rouge import RougeL


@pytest.mark.parametrize(("successes", "count", "low", "high"), [(1, 10, 0.0179, 0.4042), (81, 263, 0.2553, 0.3662)])
def test_shares_have_wilson_s_interval(successes: int, count: int, low: float, high: float) -> None:
    """81 of 263: Newcombe 1998, table I, method 3; 1 of 10 worked out by hand."""
    found = share_interval(successes, count)
    assert (found.value, found.n) == (successes / count, count)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
    with pytest.raises(ValueError, match="at least one unit"):
        share_interval(0, 0)


def test_sums_of_a_mean_are_redrawn_as_a_mean_is() -> None:
    values = np.random.default_rng(1).normal(5, 2, 400)
    parts = np.stack([values, np.ones(400)], axis=1)
    found = sums_interval(parts, lambda sums: sums[..., 0] / sums[..., 1])
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean(), abs=1e-12)
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_shares_of_few_units_are_covered_in_about_95_of_100_cases() -> None:
    """Averaged over true shares, exactly from the binomial distribution (Brown, Cai & DasGupta 2001)."""
    for count in (10, 25, 100):
        found = [share_interval(k, count) for k in range(count + 1)]
        shares = np.linspace(0.05, 0.95, 181)
        covered = [
            sum(_binomial(k, count, share) for k, one in enumerate(found) if one.low <= share <= one.high)
            for share in shares
        ]
        assert 0.93 <= np.mean(covered) <= 0.97


def _binomial(k: int, n: int, share: float) -> float:
    from math import comb

    return float(comb(n, k) * share**k * (1 - share) ** (n - k))


@pytest.mark.slow
@pytest.mark.parametrize("metric", [RougeL(), Chrf(), Distinct(), ExactMatch()], ids=lambda one: one.NAME)
def test_intervals_of_metrics_cover_the_truth_in_about_95_of_100_cases(
    metric: Figure, real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,000 suites of 100 rows drawn from a population of 2,000 real answers; the truth is the population's figure."""
    monkeypatch.setattr(intervals, "RESAMPLES", 600)
    population = _population(real_data)
    parts = metric.parts(population)  # type: ignore[attr-defined]
    truth = float(metric.value(parts.sum(axis=0)))
    assert _coverage(parts, metric.interval, truth) == pytest.approx(0.95, abs=0.02)


def _coverage(parts: np.ndarray, interval: Callable[..., intervals.Estimate], truth: float) -> float:
    rng, covered = np.random.default_rng(5), 0
    for trial in range(1000):
        found = interval(parts[rng.integers(0, len(parts), 100)], seed=trial)
        covered += found.low <= truth <= found.high
    return covered / 1000


def _population(real_data: Path) -> list[Unit]:
    """E2E sentences against the next one of the file, which is often another wording of the same meaning."""
    lines = (real_data / "nlg/e2e_valid.txt").read_text(encoding="utf-8").splitlines()
    texts = [line.partition("||")[2].strip() for line in lines][:2001]
    rng = np.random.default_rng(3)
    right = rng.random(2000) < 0.3  # so that exact match is neither 0 nor 1
    return [Unit([texts[at]], [texts[at] if right[at] else texts[at + 1]]) for at in range(2000)]
