"""Overfitting: held-out rows get less likely while the training rows still get more likely.

The model that a run keeps is the best one, not the last, so this costs time rather than quality; but the gap also says
that more of these epochs will not help.
"""

from __future__ import annotations

from tunesmith.diagnosis.history import Evidence, Finding, History, Point, means

NATS, SHARE = 0.02, 0.03
"""The held-out loss ended above its lowest by more than both."""
FELL = 0.05
"""Meanwhile the training loss fell by more than this share."""


def look(history: History) -> Finding | None:
    """A held-out loss that turned upwards for good while the training loss went on falling."""
    held, losses = history.held_out, history.losses
    if len(held) < 3 or len(losses) < 10:
        return None
    best, last = min(held, key=lambda point: point.value), held[-1]
    if last.value - best.value <= max(NATS, SHARE * best.value):
        return None
    then, now = _around(losses, best.step), means([point.value for point in losses], 10)[-1]
    if then <= 0 or now > then * (1 - FELL):
        return None
    epoch = _epoch(history, best)
    kept = "The result is the model of its best update." if history.report.get("best_step") == best.step else ""
    much = last.value > best.value * 1.25
    return Finding(
        "overfitting",
        "warn" if much or not kept else "note",
        f"From update {best.step:,} on the model learned its training rows by heart: their loss fell from {then:.3g} "
        f"to {now:.3g} while held-out rows went from {best.value:.3g} to {last.value:.3g}. {kept}".strip(),
        f"Train for about {epoch:.1g} epochs, or use more rows, a lower rank, or dropout.",
        [
            Evidence(f"held-out loss {best.value:.4g} at update {best.step:,}", best.source("validation_loss")),
            Evidence(f"held-out loss {last.value:.4g} at update {last.step:,}", last.source("validation_loss")),
        ],
    )


def _around(losses: list[Point], step: int) -> float:
    """The mean training loss of the updates around ``step``, a tenth of the run."""
    reach = max(2, len(losses) // 20)
    near = [point.value for point in losses if abs(point.step - step) <= reach]
    return sum(near) / len(near) if near else 0.0


def _epoch(history: History, best: Point) -> float:
    epochs = {point.step: point.value for point in history.points("step", "epoch")}
    return max(epochs.get(best.step, 1.0), 0.1)
