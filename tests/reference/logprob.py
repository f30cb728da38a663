"""Log-probabilities of labels from a language-model head, with all logits held at once, in the inputs' dtype."""

from __future__ import annotations

import torch


def logprob(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    labels: torch.Tensor,
    *,
    scale: float = 1.0,
    softcap: float | None = None,
) -> torch.Tensor:
    """``hidden [N, d]``, ``weight [V, d]``, ``bias [V]`` -> ``[N]``."""
    z = hidden @ weight.T
    if bias is not None:
        z = z + bias
    z = z * scale
    if softcap is not None:
        z = softcap * torch.tanh(z / softcap)
    return (z - z.exp().sum(dim=1, keepdim=True).log())[torch.arange(len(labels)), labels]
