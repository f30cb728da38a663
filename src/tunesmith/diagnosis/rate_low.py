"""A learning rate that is too low: after the whole run almost nothing has been learned, at a rate far below the usual.

That alone would also be true of a base that cannot be improved; the rate decides between the two.
"""

from __future__ import annotations

from tunesmith.diagnosis.history import Evidence, Finding, History, means, update_sizes

LEARNED = 0.1
"""Share of the first loss by which it fell; below it little was learned."""
BELOW = 5.0
"""How many times lower than the method's usual rate."""
FEWEST = 10


def look(history: History) -> Finding | None:
    """Hardly any fall of the loss at a rate far below what is usual for the method."""
    losses = history.losses
    usual, rate = history.usual_rate, history.rate
    if len(losses) < FEWEST or not usual or rate <= 0 or rate * BELOW > usual:
        return None
    held = history.held_out
    if len(held) >= 2:
        first, last, where = _before(history) or held[0].value, held[-1].value, held[-1].source("validation_loss")
    else:
        stretches = means([point.value for point in losses], 10)
        first, last, where = stretches[0], stretches[-1], losses[-1].source("loss")
    fallen = (first - last) / first if first > 0 else 0.0
    if not -LEARNED < fallen < LEARNED:
        return None
    return Finding(
        "rate-too-low",
        "warn",
        f"Almost nothing was learned: the loss went from {first:.3g} to {last:.3g}, at a learning rate that is "
        f"{usual / rate:.0f} times lower than usual.",
        f"Raise train.learning_rate to about {usual:g}.",
        [
            Evidence(f"train.learning_rate was {rate:g}", "recipe.yaml#/train/learning_rate"),
            Evidence(f"the loss ended at {last:.4g}", where),
            *update_sizes(history),
        ],
    )


def _before(history: History) -> float | None:
    """The held-out loss before training, where the base was measured."""
    task = history.before.get("task") or {}
    found = task.get("nll") or task.get("loss")
    return None if found is None else float(found["value"])
