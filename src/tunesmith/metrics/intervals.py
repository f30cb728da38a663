"""How sure a number is: bootstrap intervals over units (Efron and Tibshirani 1993, sections 13.3 and 14.3).

Units (sequences, prompts) are drawn with replacement. A bound is the outer one of two percentiles of the draws: the
plain one, and that of BCa (bias-corrected and accelerated, Efron 1987). Where few units decide a figure the plain ones
miss the truth nearly always on one side; BCa, whose correction is itself estimated, misses more on the other. Shares of
yes-or-no units have Wilson's interval. A ratio of sums, such as nats per token, redraws whole sequences, because the
tokens of one sequence are not independent.

Traps: with fewer than about 20 units of a skewed figure the interval is too narrow, and with all values equal it has no
width at all: it speaks of the rows at hand, not of rows never seen. Redrawing one unit tells nothing: its interval is
the whole line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000
_DRAWS_AT_ONCE = 1 << 22
"""bounds memory at about 100 MB whatever the number of units"""
_GROUPS = 200
"""How many parts of the units are left out in turn, where a statistic is dear."""

Value = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""A figure of what units add up to: sums ``[..., S]`` to ``[...]``."""


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
    """The mean of ``values [n]``; of values that are all 0 or 1 as ``share_interval``.

    Raises ``ValueError`` where there are none.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) and np.isin(values, (0.0, 1.0)).all():
        return share_interval(int(values.sum()), len(values), level=level)
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
    found = sums_interval(np.stack([top, bottom], axis=1), _divided, seed=seed, level=level)
    return replace(found, value=_ratio(top, bottom))


def paired_difference(before: ArrayLike, after: ArrayLike, *, seed: int = 0, level: float = 0.95) -> Estimate:
    """Mean of ``after - before`` ``[n]`` over the same units; the pairing takes the units' own difficulty out."""
    first, second = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"pairs need equally many values, got {first.shape} and {second.shape}")
    change = second - first
    return ratio_interval(change, np.ones_like(change), seed=seed, level=level)


def _divided(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):  # counts may cancel in a draw, which is then left out
        return np.asarray(sums[..., 0] / sums[..., 1])


def _ratio(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> float:
    # math.fsum is exact, so the value does not depend on the order of units
    return math.fsum(top) / math.fsum(bottom)


def sums_interval(parts: NDArray[np.float64], value: Value, *, seed: int = 0, level: float = 0.95) -> Estimate:
    """A figure ``value(sums [..., S]) -> [...]`` of what units add up to, ``parts [U, S]``.

    Draws of which the figure is not a number are left out. Raises ``ValueError`` where there is no unit.
    """
    units = len(parts)
    if units == 0:
        raise ValueError("an interval needs at least one unit")
    total = parts.sum(axis=0)
    found = float(value(total))
    if units == 1:
        return Estimate(found, -math.inf, math.inf, 1)
    drawn = np.concatenate([value(times @ parts) for times in _draws(units, seed)])
    return _between(found, drawn, value(total - parts), units, level)


def paired_sums(
    before: NDArray[np.float64], after: NDArray[np.float64], value: Value, *, seed: int = 0, level: float = 0.95
) -> Estimate:
    """After minus before of a figure of what units add up to, both ``[U, S]``, over the same draws of units.

    Units that count in neither are left out. Raises ``ValueError`` where none is left, or a figure is not a number.
    """
    kept = (np.abs(before).sum(axis=1) > 0) | (np.abs(after).sum(axis=1) > 0)
    first, second = before[kept], after[kept]
    units = len(first)
    if units == 0:
        raise ValueError("an interval needs at least one unit")
    past, now = first.sum(axis=0), second.sum(axis=0)
    found = float(value(now) - value(past))
    if not math.isfinite(found):
        raise ValueError("the figure is not a number")
    if units == 1:
        return Estimate(found, -math.inf, math.inf, 1)
    drawn = np.concatenate([value(times @ second) - value(times @ first) for times in _draws(units, seed)])
    return _between(found, drawn, value(now - second) - value(past - first), units, level)


def _draws(units: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each unit is drawn, ``[rounds, U]`` at a time, ``RESAMPLES`` rounds together."""
    rng = np.random.default_rng(seed)
    rounds = max(1, _DRAWS_AT_ONCE // units)
    for first in range(0, RESAMPLES, rounds):
        now = min(rounds, RESAMPLES - first)
        places = rng.integers(0, units, size=(now, units)) + units * np.arange(now)[:, None]
        yield np.bincount(places.ravel(), minlength=now * units).reshape(now, units).astype(np.float64)


def _between(
    found: float, drawn: NDArray[np.float64], without: NDArray[np.float64], units: int, level: float
) -> Estimate:
    """``found`` with the bounds of its draws ``drawn``; numbers that are none are left out."""
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) == 0:
        return Estimate(found, -math.inf, math.inf, units)
    z = _student(NormalDist().inv_cdf(0.5 + level / 2), units - 1) * math.sqrt(units / (units - 1))
    bounds = np.percentile(drawn, [*_plain(z), *_accelerated(found, drawn, without, z)])
    return Estimate(found, float(bounds.min()), float(bounds.max()), units)


def _plain(z: float) -> tuple[float, float]:
    """The percentiles ``z`` deviations away from the middle.

    ``z`` is widened to Student's ``t √(n / (n − 1))``, because draws of few units spread too little (Hesterberg 2015,
    arXiv:1411.5279).
    """
    return 100 * NormalDist().cdf(-z), 100 * NormalDist().cdf(z)


def _accelerated(
    found: float, drawn: NDArray[np.float64], without: NDArray[np.float64], z: float
) -> tuple[float, float]:
    """The two percentiles of ``drawn`` that BCa takes; ``without [U]`` is the figure without each unit.

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

    return percentile(-z), percentile(z)


def _student(z: float, freedom: int) -> float:
    """The quantile of Student's t that belongs to the normal ``z`` (Abramowitz and Stegun 1964, 26.7.5)."""
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, start=1))


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
    groups = np.array_split(rng.permutation(units), min(units, _GROUPS))
    fewer = [taken(np.delete(np.arange(units), group)) for group in groups]
    estimates = {}
    for name, value in found.items():
        drawn, without = (np.array([one[name] for one in many]) for many in (draws, fewer))
        if math.isfinite(value) and np.isfinite(drawn).any():
            estimates[name] = _between(value, drawn, without, units, level)
    return estimates
