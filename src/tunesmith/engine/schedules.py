"""Learning-rate schedules as pure functions of the step: factor in [0, 1] by which the peak rate is multiplied.

Update ``step`` counts from 0; ``warmup`` updates rise linearly to 1 (the first update has 1/warmup, never 0).
"""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int], float]


def warmup_steps(warmup: float, total: int) -> int:
    """A share of all updates below 1, a number of updates from 1 on; at most ``total``."""
    return min(total, round(warmup * total) if warmup < 1 else round(warmup))


def constant(_: float) -> float:
    """1 throughout."""
    return 1.0


def linear(progress: float) -> float:
    """From 1 straight down to 0."""
    return 1.0 - progress


def cosine(progress: float) -> float:
    """Half a cosine from 1 to 0 (Loshchilov & Hutter 2017, eq. 5, without restarts)."""
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def warmup_stable_decay(progress: float, *, decay: float = 0.2) -> float:
    """1 until the last ``decay`` share, then linearly to 0 (Hu et al. 2024, MiniCPM, section 4)."""
    return min(1.0, (1.0 - progress) / decay)


SHAPES: dict[str, Callable[[float], float]] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "warmup-stable-decay": warmup_stable_decay,
}


def schedule(name: str, *, total: int, warmup: float) -> Schedule:
    """The factor of each update of a run of ``total`` updates."""
    shape, rise = SHAPES[name], warmup_steps(warmup, total)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return shape(min(1.0, (step - rise) / max(1, total - rise)))

    return factor


def next_evaluation(share: float, steps: int, every: int) -> int:
    """The update of the first evaluation (each ``every`` updates) after ``share`` of ``steps``; the last at most."""
    return min(steps, math.ceil(share * steps / every) * every)
