"""Underfitting: training ended while held-out rows were still getting more likely fast."""

from __future__ import annotations

from tunesmith.diagnosis.history import Evidence, Finding, History

LAST = 0.3
"""The end of a run that is looked at, as a share of its updates."""
FELL = 0.08
"""The held-out loss still fell by more than this share in it."""


def look(history: History) -> Finding | None:
    """A held-out loss that fell steeply to the very end."""
    held = history.held_out
    if len(held) < 4:
        return None
    last = held[-1]
    earlier = [point for point in held[:-1] if point.step <= last.step * (1 - LAST)]
    if not earlier:
        return None
    then = earlier[-1]
    span = (last.step - then.step) / (LAST * last.step)
    fallen = (then.value - last.value) / then.value / span if then.value > 0 else 0.0
    if fallen <= FELL or last.value > min(point.value for point in held) * 1.001:
        return None
    return Finding(
        "underfitting",
        "warn",
        f"Training stopped too early: the held-out loss was still falling, from {then.value:.3g} at update "
        f"{then.step:,} to {last.value:.3g} at the end.",
        "Train longer (train.epochs or train.steps), or raise train.learning_rate.",
        [
            Evidence(f"held-out loss {then.value:.4g} at update {then.step:,}", then.source("validation_loss")),
            Evidence(f"held-out loss {last.value:.4g} at update {last.step:,}", last.source("validation_loss")),
        ],
    )
