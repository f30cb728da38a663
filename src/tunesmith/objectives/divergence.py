"""How far a student's distribution q is from a teacher's p, over the same events; summed over events, in nats.

    forward         KL(p ‖ q)                                          (Hinton et al. 2015)
    reverse         KL(q ‖ p)                                          (Gu et al. 2024, MiniLLM, equation 1)
    js              β KL(p ‖ m) + (1 − β) KL(q ‖ m),  m = β p + (1 − β) q     (Agarwal et al. 2024, GKD, equation 1)
    skew            KL(p ‖ α p + (1 − α) q)                            (Ko et al. 2024, DistiLLM, equation 2)
    skew-reverse    KL(q ‖ (1 − α) p + α q)                            (the same, equation 3)

The trap: logarithms of events without probability. Below ``FLOOR`` they are it, whose exponential is exactly 0 in
float64 as well, so that 0 · log 0 is 0 and no gradient is lost to −inf − (−inf).

Shape legend: ``n`` rows, ``V`` events.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

FLOOR = -1e4
Divergence = Literal["forward", "reverse", "js", "skew", "skew-reverse"]


def divergence(
    log_p: torch.Tensor, log_q: torch.Tensor, *, kind: Divergence, beta: float = 0.5, skew: float = 0.1
) -> torch.Tensor:
    """``[n]`` from log-probabilities ``log_p`` (teacher) and ``log_q`` (student), both ``[n, V]``; differentiable."""
    log_p, log_q = log_p.clamp_min(FLOOR), log_q.clamp_min(FLOOR)
    if kind == "forward":
        return kl(log_p, log_q)
    if kind == "reverse":
        return kl(log_q, log_p)
    if kind == "skew":
        return kl(log_p, mixture(log_p, log_q, skew))
    if kind == "skew-reverse":
        return kl(log_q, mixture(log_q, log_p, skew))
    middle = mixture(log_p, log_q, beta)
    return beta * kl(log_p, middle) + (1.0 - beta) * kl(log_q, middle)


def kl(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """``Σ p (log p − log q)``, ``[n]``."""
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)


def mixture(log_a: torch.Tensor, log_b: torch.Tensor, share: float) -> torch.Tensor:
    """``log(share·a + (1 − share)·b)``."""
    import torch

    return torch.logaddexp(log_a + math.log(share), log_b + math.log1p(-share))
