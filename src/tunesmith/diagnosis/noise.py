"""The gradient noise scale of a run: at how many rows an update the noise of its gradient is as large as the gradient.

    B_simple = Σ_updates B · noise / Σ_updates signal            McCandlish et al. 2018 (arXiv:1812.06162), eq. 2.9

Numerator and denominator are summed over updates before they are divided, as single updates say next to nothing; its
interval redraws whole updates. Far below it twice the rows an update need about half the updates, far above it they
save none (their fig. 1 and eq. 2.11: at ``B`` a run needs ``1 + B_simple / B`` times the fewest updates and
``1 + B / B_simple`` times the fewest rows).

The trap: it was measured with the optimizer's own steps, and Adam's do not follow the theory to the letter: a factor of
three either way is the size of what it can tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

FEWEST = 8
"""Measured updates below which nothing is said."""
FAR = 3.0
"""Times smaller or larger than the noise scale, beyond which a batch is said to be so."""
DRAWS, SEED = 500, 0
SHARE = 4


@dataclass(frozen=True)
class NoiseScale:
    """``value`` in rows (units of ``batch``, the mean of an update) with its 95% interval, from ``n`` updates.

    Where no gradient stands out of the noise ``value`` or ``high`` is None: larger than can be measured.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    batch: float

    def as_dict(self) -> dict[str, Any]:
        """As JSON, with what it means in words."""
        return {**asdict(self), "means": self.means}

    @property
    def means(self) -> str:
        """What a person should make of it."""
        least = float("inf") if self.low is None else self.low
        most = float("inf") if self.high is None else self.high
        if self.batch > FAR * most:
            return (
                "The batch is larger than useful: almost the same progress an update would come from fewer rows. "
                "A smaller train.batch_size would learn as much from fewer epochs."
            )
        if self.batch * FAR < least:
            return (
                "The batch is small beside the noise: every row counts, and updates are mostly noise. A larger "
                "train.batch_size (with a higher train.learning_rate) would need fewer updates and few rows more."
            )
        if least * FAR < self.batch and self.batch * FAR < most:
            return "Too few updates were measured to say whether the batch is small or large."
        return "The batch fits: neither mostly noise in an update, nor many rows that add nothing."


def measured(events: Sequence[Mapping[str, Any]]) -> list[tuple[int, Mapping[str, Any]]]:
    """``(step, {signal, noise, examples})`` of every update where the noise was measured."""
    return [(event["step"], event["gradient"]) for event in events if event["kind"] == "step" and "gradient" in event]


def noise_scale(events: Sequence[Mapping[str, Any]]) -> NoiseScale | None:
    """The noise scale of a run; None where too few updates were measured."""
    found = measured(events)
    if len(found) < FEWEST:
        return None
    above, below, rows = _parts(found)
    picks = np.random.default_rng(SEED).integers(0, len(found), (DRAWS, len(found)))
    drawn = [_ratio(above[pick], below[pick]) for pick in picks]
    low, high = np.quantile(drawn, (0.025, 0.975), method="inverted_cdf")
    return NoiseScale(
        _finite(_ratio(above, below)), _finite(low), _finite(high), n=len(found), batch=float(rows.mean())
    )


def running(events: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """``(step, noise scale)`` of the last quarter of what was measured up to then, where it can be told."""
    found = measured(events)
    ends = range(FEWEST, len(found) + 1)
    parts = [found[end - max(FEWEST, end // SHARE) : end] for end in ends]
    values = [(part[-1][0], _ratio(*_parts(part)[:2])) for part in parts]
    return [(step, value) for step, value in values if np.isfinite(value)]


def _parts(found: Sequence[tuple[int, Mapping[str, Any]]]) -> tuple[Any, Any, Any]:
    rows = np.array([one["examples"] for _, one in found], dtype=np.float64)
    return np.array([one["noise"] for _, one in found]) * rows, np.array([one["signal"] for _, one in found]), rows


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _ratio(above: Any, below: Any) -> float:
    """Infinite where the gradient does not stand out of its noise; no noise scale is below 0."""
    whole = float(below.sum())
    return max(0.0, float(above.sum())) / whole if whole > 0.0 else float("inf")
