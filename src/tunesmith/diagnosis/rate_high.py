"""A learning rate that is too high: the loss rises far above what it had been, and stays there or keeps jumping.

Medians of stretches of the training are compared, because single updates differ by their rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import log, sqrt
from statistics import median

from tunesmith.diagnosis.history import Evidence, Finding, History, stretches, update_sizes

STRETCHES = 20
NATS, SHARE = 0.3, 0.15
"""The loss of a stretch lies above the lowest one before it by more than both."""
SURE = 5.0
"""Standard errors of a stretch's median by which it lies above as well."""
FEWEST = 10
"""Updates below which a curve says nothing."""


def look(history: History) -> Finding | None:
    """A rise of the training loss far above what it had been."""
    losses = history.losses
    if len(losses) < FEWEST:
        return None
    level = [*_began(history), *(median(some) for some in stretches([point.value for point in losses], STRETCHES))]
    lowest, rise, at = level[0], 0.0, 0
    for place, value in enumerate(level):
        if value - lowest > rise:
            rise, at = value - lowest, place
        lowest = min(lowest, value)
    low = min(level[: at + 1])
    if rise <= max(NATS, SHARE * low, SURE * low * _chance([point.value for point in losses])):
        return None
    ended = level[-1]
    diverged = ended > level[0] + NATS / 2 or ended > low + max(NATS, SHARE * low)
    rate = history.rate
    usual = history.usual_rate
    told = f"; {usual:g} is usual for this method" if usual and rate > usual else ""
    what = f"The training loss rose to {level[at]:.3g} after it had been {low:.3g}" + (
        f" and ended at {ended:.3g}: training diverged." if diverged else ", so part of the training was undone."
    )
    clip = " and set train.clip back to 1.0" if history.option("train", "clip") == 0 else ""
    last = losses[-1]
    return Finding(
        "rate-too-high",
        "bad" if diverged else "warn",
        what,
        f"Lower train.learning_rate to about {rate / 5:.1g}{clip}, or lengthen train.warmup.",
        [
            Evidence(f"train.learning_rate was {rate:g}{told}", "recipe.yaml#/train/learning_rate"),
            Evidence(f"the loss of the last update was {last.value:.3g}", last.source("loss")),
            *_norms(history),
            *update_sizes(history),
        ],
    )


def _began(history: History) -> list[float]:
    """The loss before any update, where the base was measured: what a run that was thrown out at once started from.

    The larger of held-out rows and the first update's, so that training rows which are merely harder are no rise.
    """
    task = history.before.get("task") or {}
    found = task.get("nll") or task.get("loss")
    return [] if found is None else [max(float(found["value"]), history.losses[0].value)]


def _chance(values: Sequence[float]) -> float:
    """Share of the loss by which the median of a stretch varies by chance: from how much neighbours differ."""
    steps = [abs(log(max(one, 1e-9) / max(other, 1e-9))) for one, other in pairwise(values)]
    spread = 1.4826 * median(steps) / sqrt(2)
    return 1.2533 * spread / sqrt(max(1.0, len(values) / STRETCHES))


def _norms(history: History) -> list[Evidence]:
    norms = history.points("step", "norm")
    if not norms:
        return []
    most = max(norms, key=lambda point: point.value)
    text = f"the largest gradient norm was {most.value:.3g}, in update {most.step:,}"
    return [Evidence(text, most.source("norm"))]
