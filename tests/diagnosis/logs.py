"""Records of runs built to be healthy or ill: curves as they come out of real ones, with noise from a seed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

from tunesmith.diagnosis.history import History

STEPS, EPOCHS = 240, 3
RECIPE = {"train": {"learning_rate": 2e-4, "shuffle": True, "clip": 1.0}}


def healthy(step: int) -> float:
    """A loss that falls to 0.9 and flattens."""
    return 0.9 + 3.0 * math.exp(-step / 25)


def history(
    loss: Callable[[int], float] = healthy,
    held: Callable[[int], float] | None = None,
    *,
    noise: float = 0.1,
    seed: int = 0,
    usual_rate: float | None = 2e-4,
    recipe: dict[str, Any] | None = None,
    **more: Any,
) -> History:
    """A run of ``STEPS`` updates whose loss is ``loss(step)`` times log-normal ``noise``, evaluated every 24."""
    drawn = random.Random(seed)
    held = held or (lambda step: loss(step) + 0.05)
    events: list[dict[str, Any]] = [{"kind": "start", "step": 0}]
    for step in range(1, STEPS + 1):
        value = loss(step) * math.exp(drawn.gauss(0, noise))
        norm = 0.5 * math.exp(drawn.gauss(0, 0.3))
        events.append(
            {"kind": "step", "step": step, "loss": value, "norm": norm, "epoch": round(step * EPOCHS / STEPS, 4)}
        )
        if step % 24 == 0:
            events.append({"kind": "evaluation", "step": step, "validation_loss": held(step), "best": True})
    return History(events, recipe or RECIPE, usual_rate=usual_rate, **more)


def answers(
    texts: Sequence[str], *, stopped: bool = True, wanted: Callable[[int], str] | None = None
) -> dict[str, Any]:
    """Judged answers ``texts`` to as many different questions."""
    wanted = wanted or (lambda place: f"The answer is {place}.")
    return {
        "answers": [
            {"prompt": f"Question {place}?", "reference": wanted(place), "answer": text, "stopped": stopped}
            for place, text in enumerate(texts)
        ]
    }
