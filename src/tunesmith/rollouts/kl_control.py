"""An adaptive weight of the divergence in the reward (Ziegler et al. 2019, arXiv 1909.08593, section 2.2):

e = clip(KL / target − 1, −0.2, 0.2),    β ← β (1 + rate · e)
"""

from __future__ import annotations

BOUND = 0.2


def adapted(weight: float, kl: float, *, target: float | None, rate: float) -> float:
    """The weight after a rollout whose answers diverged by ``kl`` nats on average; unchanged without a ``target``."""
    if target is None:
        return weight
    error = min(BOUND, max(-BOUND, kl / target - 1.0))
    return weight * (1.0 + rate * error)
