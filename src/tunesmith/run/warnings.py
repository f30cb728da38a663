"""What a run should be told about its own result: that it diverged, that the base was better, that nothing chose it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from tunesmith.recipe.schema import TrainConfig

LAST = 5
"""Updates whose mean loss is the one training ended with."""
NATS, SHARE = 0.5, 0.25
"""The loss of an update differs from batch to batch; training diverged where it rose by more than both."""


def warnings(changes: Mapping[str, Any], losses: Sequence[float], train: TrainConfig) -> list[str]:
    """One sentence with advice where the result is no good, else nothing.

    ``changes`` as in ``report.json``; ``losses`` of the updates in their order (the first is the base's own).
    """
    if not losses:
        return []
    first, last = losses[0], fmean(losses[-LAST:])
    clip = " and leave train.clip at 1.0" if train.clip == 0 else ""
    if last > first + max(NATS, SHARE * first):
        return [
            f"Training diverged: its loss began at {first:.3g} and ended at {last:.3g}. Lower train.learning_rate "
            f"(it was {train.learning_rate:g}){clip}."
        ]
    task = changes.get("task", {})
    name = "nll" if "nll" in task else "loss"
    found = task.get(name, {})
    if found.get("verdict") != "worse":
        return []
    before, after = found["before"]["value"], found["after"]["value"]
    return [
        f"The model is worse than the base on held-out rows: {name} {before:.4g} became {after:.4g}. Lower "
        f"train.learning_rate (it was {train.learning_rate:g}){clip}, train for fewer epochs, or look at the rows with "
        "`tunesmith data show`."
    ]


def unwatchable(metrics: Mapping[str, float], train: TrainConfig) -> str | None:
    """A sentence where the metric that chooses the best update is no number in an evaluation's ``metrics``."""
    name = _watched(train)
    if math.isfinite(metrics.get(name, 0.0)):
        return None
    stopping = train.early_stopping
    stops = f", and after {stopping.patience} such evaluations training ends" if stopping else ""
    return f"{name} is no number on the held-out rows (too few of them, or all alike?): it counts as no better{stops}"


def never_better(train: TrainConfig, *, evaluated: bool, best: int | None) -> list[str]:
    """A sentence where held-out rows were ``evaluated`` and no update was the ``best`` by the watched metric."""
    if not evaluated or best is not None:
        return []
    return [
        f"{_watched(train)} was never a number on the held-out rows, so no update was chosen by it: the result is the "
        "last one. Hold out more rows, or set train.early_stopping.metric to another one."
    ]


def _watched(train: TrainConfig) -> str:
    return train.early_stopping.metric if train.early_stopping else "validation_loss"
