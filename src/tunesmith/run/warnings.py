"""What a finished run should be told about its own result: that it diverged, or that the base was better."""

from __future__ import annotations

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
