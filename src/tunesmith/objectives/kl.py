"""How far a policy has gone from its reference, estimated at the tokens that the policy itself drew.

With ``d = log π(y) − log π_ref(y)`` at a sampled token (Schulman 2020, "Approximating KL divergence"):

    k1 = d        k2 = d² / 2        k3 = e^{−d} − 1 + d

k1 and k3 have the mean KL(π ‖ π_ref); k3 is never negative and varies less.

The trap: as a *loss*, k1 does nothing. Its gradient is ∇ log π, whose mean under π is 0 (Tang and Munos 2025, arXiv
2506.09477); as a part of the *reward* it is right. k2 as a loss has the gradient of KL(π ‖ π_ref) on average.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Estimator = Literal["k1", "k2", "k3"]


def divergence(kind: Estimator, logprob: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """The estimate ``[N]``, in nats, from log-probabilities ``[N]`` of sampled tokens; differentiable."""
    away = logprob - reference
    if kind == "k1":
        return away
    if kind == "k2":
        return away.square() / 2
    return (-away).exp() - 1 + away
