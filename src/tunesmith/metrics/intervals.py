"""How sure a number is: bootstrap intervals over units (Efron and Tibshirani 1993, sections 13.3 and 14.3).

Units (sequences, prompts) are drawn with replacement; the interval holds the middle 95% of the resampled statistic. A
ratio of sums, such as nats per token, redraws whole sequences, because the tokens of one sequence are not independent.

Traps: with fewer than about 20 units the interval is too narrow, and with all values equal (every answer right) it has
no width at all: it speaks of the rows at hand, not of rows never seen. Redrawing one unit tells nothing: its interval
is the whole line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000
_DRAWS_AT_ONCE = 1 << 22
"""bounds memory at about 100 MB whatever the number of units"""


@dataclass(frozen=True)
class Estimate:
    """A statistic of ``n`` units with the bounds of its 95% interval (infinite where one unit tells nothing)."""

    value: float
    low: float
    high: float
    n: int

    def as_dict(self) -> dict[str, float | int | None]:
        """``{value, low, high, n}``, as results files hold it: None for what is infinite, which JSON does not have."""
        return {name: value if math.isfinite(value) else None for name, value in asdict(self).items()}

    def mapped(self, function: Callable[[float], float]) -> Estimate:
        """The estimate of an increasing ``function`` of the statistic (percentiles go with it)."""
        return Estimate(function(self.value), function(self.low), function(self.high), self.n)


def mean_interval(values: ArrayLike, *, seed: int = 0, level: float = 0.95) -> Estimate:
    """The mean of ``values [n]``. Raises ``ValueError`` where there are none.

    Where every value is equal and 0 or 1 (nothing, or everything, was right) redrawing shows no spread at all; there
    the interval is Wilson's for a proportion (1927).
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) and values.min() == values.max() and values[0] in (0.0, 1.0):
        return _unanimous(float(values[0]), len(values), level)
    return ratio_interval(values, np.ones_like(values), seed=seed, level=level)


def _unanimous(value: float, count: int, level: float) -> Estimate:
    """Wilson's interval for 0 or ``count`` successes: its inner bound is ``z² / (count + z²)`` away from ``value``."""
    square = NormalDist().inv_cdf(0.5 + level / 2) ** 2
    away = square / (count + square)
    return Estimate(value, max(0.0, value - away), min(1.0, value + away), count)


def share_interval(successes: int, count: int, *, level: float = 0.95) -> Estimate:
    """A share of ``count`` independent yes-or-no units: Wilson's interval (1927), right for few units too.

    With ``p`` the share and ``z`` the normal quantile: ``(p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n)``.
    Raises ``ValueError`` where there is no unit.
    """
    if count <= 0:
        raise ValueError("an interval needs at least one unit")
    share, z = successes / count, NormalDist().inv_cdf(0.5 + level / 2)
    if share in (0.0, 1.0):
        return _unanimous(share, count, level)
    scale = 1 + z * z / count
    middle = (share + z * z / (2 * count)) / scale
    half = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2) / scale
    return Estimate(share, middle - half, middle + half, count)


def ratio_interval(numerators: ArrayLike, denominators: ArrayLike, *, seed: int = 0, level: float = 0.95) -> Estimate:
    """``sum(numerators) / sum(denominators)``, both ``[n]``, one entry a unit.

    Units with denominator 0 carry no part of the ratio and are left out. Raises ``ValueError`` where no unit remains.
    """
    top, bottom = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    if top.shape != bottom.shape or top.ndim != 1:
        raise ValueError(f"one numerator and one denominator a unit are needed, got {top.shape} and {bottom.shape}")
    top, bottom = top[bottom != 0], bottom[bottom != 0]
    if len(top) == 0:
        raise ValueError("an interval needs at least one unit")
    if len(top) == 1:
        return Estimate(_ratio(top, bottom), -math.inf, math.inf, 1)
    tail = 50 * (1 - level)
    low, high = np.percentile(_resampled(top, bottom, seed), [tail, 100 - tail])
    return Estimate(_ratio(top, bottom), float(low), float(high), len(top))


def paired_difference(before: ArrayLike, after: ArrayLike, *, seed: int = 0, level: float = 0.95) -> Estimate:
    """Mean of ``after - before`` ``[n]`` over the same units; the pairing takes the units' own difficulty out."""
    first, second = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"pairs need equally many values, got {first.shape} and {second.shape}")
    change = second - first
    return ratio_interval(change, np.ones_like(change), seed=seed, level=level)


def _resampled(top: NDArray[np.float64], bottom: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    units = len(top)
    rounds = max(1, _DRAWS_AT_ONCE // units)
    ratios = []
    for first in range(0, RESAMPLES, rounds):
        drawn = rng.integers(0, units, size=(min(rounds, RESAMPLES - first), units), dtype=np.int32)
        ratios.append(top[drawn].sum(axis=1) / bottom[drawn].sum(axis=1))
    return np.concatenate(ratios)


def _ratio(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> float:
    # math.fsum is exact, so the value does not depend on the order of units
    return math.fsum(top) / math.fsum(bottom)


def sums_interval(
    parts: NDArray[np.float64],
    value: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """A figure ``value(sums [..., S]) -> [...]`` of what units add up to, ``parts [U, S]``.

    The interval is bias-corrected and accelerated (BCa, Efron 1987): where few units decide the figure, such as the few
    answers that repeat themselves, the plain percentiles miss the truth too often, and nearly always on one side.
    Draws of which the figure is not a number are left out. Raises ``ValueError`` where there is no unit.
    """
    units = len(parts)
    if units == 0:
        raise ValueError("an interval needs at least one unit")
    total = parts.sum(axis=0)
    found = float(value(total))
    if units == 1:
        return Estimate(found, -math.inf, math.inf, 1)
    rng = np.random.default_rng(seed)
    rounds = max(1, _DRAWS_AT_ONCE // units)
    chances = np.full(units, 1.0 / units)
    drawn = np.concatenate(
        [
            value(rng.multinomial(units, chances, size=min(rounds, RESAMPLES - first)) @ parts)
            for first in range(0, RESAMPLES, rounds)
        ]
    )
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) == 0:
        return Estimate(found, -math.inf, math.inf, units)
    low, high = np.percentile(drawn, _accelerated(found, drawn, value(total - parts), level))
    return Estimate(found, float(low), float(high), units)


def paired_sums(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    value: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """After minus before of a figure of what units add up to, both ``[U, S]``, over the same draws of units.

    Units that count in neither are left out. Raises ``ValueError`` where none is left, or a figure is not a number.
    """
    kept = (np.abs(before).sum(axis=1) > 0) | (np.abs(after).sum(axis=1) > 0)
    first, second = before[kept], after[kept]
    units = len(first)
    if units == 0:
        raise ValueError("an interval needs at least one unit")
    found = float(value(second.sum(axis=0)) - value(first.sum(axis=0)))
    if not math.isfinite(found):
        raise ValueError("the figure is not a number")
    if units == 1:
        return Estimate(found, -math.inf, math.inf, 1)
    rng = np.random.default_rng(seed)
    rounds = max(1, _DRAWS_AT_ONCE // units)
    chances = np.full(units, 1.0 / units)
    draws = []
    for start in range(0, RESAMPLES, rounds):
        times = rng.multinomial(units, chances, size=min(rounds, RESAMPLES - start))
        draws.append(value(times @ second) - value(times @ first))
    drawn = np.concatenate(draws)
    tail = 50 * (1 - level)
    low, high = np.percentile(drawn[np.isfinite(drawn)], [tail, 100 - tail])
    return Estimate(found, float(low), float(high), units)


def _accelerated(
    found: float, drawn: NDArray[np.float64], without: NDArray[np.float64], level: float
) -> tuple[float, float]:
    """The two percentiles of ``drawn`` that BCa takes; ``without[U]`` is the figure without each unit.

    ``Φ(z₀ + (z₀ + z) / (1 − a (z₀ + z)))`` with ``z₀ = Φ⁻¹(P(drawn < found))``, ties counting half, and the
    acceleration ``a = Σ d³ / 6 (Σ d²)^{3/2}`` of the jackknife's ``d = mean(without) − without`` (section 7).
    """
    normal, finite = NormalDist(), without[np.isfinite(without)]
    below = float(((drawn < found).mean() + (drawn <= found).mean()) / 2)
    bias = normal.inv_cdf(min(max(below, 1 / len(drawn)), 1 - 1 / len(drawn))) if len(drawn) > 2 else 0.0
    away = finite.mean() - finite if len(finite) else np.zeros(1)
    spread = float((away**2).sum())
    skew = float((away**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0

    def percentile(z: float) -> float:
        moved = bias + z
        # beyond the pole of the formula the percentile is that of the far end
        return 100 * normal.cdf(bias + moved / (1 - skew * moved)) if skew * moved < 1 else 100.0 * (moved > 0)

    z = normal.inv_cdf(0.5 + level / 2)
    return percentile(-z), percentile(z)


Statistics = Callable[[NDArray[np.int64]], Mapping[str, float]]
"""Numbers of the units at the given places, which may repeat."""


def resampled(
    statistics: Statistics, units: int, *, before: Statistics | None = None, seed: int = 0, level: float = 0.95
) -> dict[str, Estimate]:
    """Estimates of statistics that are no means (F1, correlations), all over the same draws of ``units``.

    With ``before`` they are differences to it, paired: both are taken over the same draws. Draws of which a statistic
    is not a number are left out; a statistic that is none over all units has no estimate.
    """

    def taken(places: NDArray[np.int64]) -> dict[str, float]:
        now = statistics(places)
        if before is None:
            return dict(now)
        then = before(places)
        return {name: value - then[name] for name, value in now.items()}

    if units == 0:
        raise ValueError("an interval needs at least one unit")
    rng = np.random.default_rng(seed)
    found = taken(np.arange(units))
    if units == 1:
        alone = {name: value for name, value in found.items() if math.isfinite(value)}
        return {name: Estimate(value, -math.inf, math.inf, 1) for name, value in alone.items()}
    draws = [taken(rng.integers(0, units, size=units)) for _ in range(RESAMPLES)]
    tail = 50 * (1 - level)
    estimates = {}
    for name, value in found.items():
        drawn = np.array([draw[name] for draw in draws])
        if math.isfinite(value) and np.isfinite(drawn).any():
            low, high = np.nanpercentile(drawn, [tail, 100 - tail])
            estimates[name] = Estimate(value, float(low), float(high), units)
    return estimates
