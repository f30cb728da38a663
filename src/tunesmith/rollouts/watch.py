"""Signs that a reward is being gamed rather than earned, told in plain words.

A rollout leaves a row of measurements. The first ``WINDOW`` rows are compared with the last: what moved by more than
twice its own standard error is called risen or fallen. Gao et al. 2023 (arXiv 2210.10760) show the shape: the trained
reward rises with the divergence from the start while the reward one really means turns down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

WINDOW = 4
KL_PER_TOKEN = 0.5
"""nats a token from which answers hardly are the base model's language any more"""


@dataclass(frozen=True)
class Measurements:
    """Means over the answers of a rollout; ``judge`` is not a number without one."""

    reward: float
    judge: float
    kl: float
    """nats an answer"""
    entropy: float
    """nats a token"""
    tokens: float
    """tokens an answer"""


NAMES = tuple(field.name for field in fields(Measurements))
SIGNS = ("judge", "length", "entropy", "kl")
"""Short names of what can be suspicious."""


def warnings(history: Sequence[Measurements]) -> dict[str, str]:
    """What is suspicious in ``history``, by one of ``SIGNS``."""
    if len(history) < 2 * WINDOW:
        return {}
    rows = {name: np.array([getattr(row, name) for row in history]) for name in NAMES}
    first = {name: float(values[:WINDOW].mean()) for name, values in rows.items()}
    last = {name: float(values[-WINDOW:].mean()) for name, values in rows.items()}
    rises = _moved(rows["reward"]) > 2
    found: dict[str, str] = {}
    if rises and _moved(rows["judge"]) < -2:
        found["judge"] = (
            f"the reward rose from {first['reward']:.3f} to {last['reward']:.3f} while the judge, which is not trained "
            f"on, fell from {first['judge']:.3f} to {last['judge']:.3f}: the reward is being gamed. Read the answers; "
            "stop here, raise objective.kl, or mend the reward."
        )
    if rises and last["tokens"] > 1.5 * first["tokens"] and _moved(rows["tokens"]) > 2:
        found["length"] = (
            f"answers grew from {first['tokens']:.0f} to {last['tokens']:.0f} tokens while the reward rose: see if "
            "length alone is rewarded (the reward 'length' or 'overlong' bounds it)."
        )
    if last["entropy"] < 0.1 * first["entropy"]:
        found["entropy"] = (
            f"the entropy fell from {first['entropy']:.3f} to {last['entropy']:.3f} nats a token: answers hardly vary "
            "any more, so little is left to learn from. A lower learning rate, objective.entropy_bonus or clip_high "
            "keeps them varied."
        )
    if last["kl"] > KL_PER_TOKEN * last["tokens"]:
        found["kl"] = (
            f"answers diverge by {last['kl']:.1f} nats from the model as training began, over {KL_PER_TOKEN} a token: "
            "it may no longer write as it did. Raise objective.kl or lower the learning rate."
        )
    return found


def _moved(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    """Last window minus first, in standard errors; 0 where they are not numbers."""
    first, last = values[:WINDOW], values[-WINDOW:]
    error = math.sqrt((first.var(ddof=1) + last.var(ddof=1)) / WINDOW)
    change = float(last.mean() - first.mean())
    if not math.isfinite(change):
        return 0.0
    return change / error if error > 0 else math.copysign(math.inf, change) if change else 0.0
