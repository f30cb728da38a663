"""The layer of AdaLoRA: a linear and its update in the form of a singular value decomposition.

    y = x Wᵀ + b + s · x (ΛQ)ᵀ Pᵀ

Shape legend: ``Q [rank, in]``, ``Λ [rank, 1]``, ``P [out, rank]``; ``...`` any leading dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from tunesmith.methods.insert import Adapted
from tunesmith.methods.lora_node import Update, composed, low_rank
from tunesmith.models.dropping import fresh_seed

if TYPE_CHECKING:
    from tunesmith.methods.adalora import Adalora

MATRICES = ("lora_A", "lora_E", "lora_B")
"""PEFT's names of ``Q``, ``Λ`` and ``P``."""


class SvdLinear(Adapted):
    """A linear layer plus its update ``P Λ Q``, in the dtype the base computes in."""

    def __init__(self, base_layer: nn.Module, config: Adalora) -> None:
        super().__init__(base_layer)
        base, rank = self.base, config.initial_rank
        right = torch.randn(rank, base.in_features) / base.in_features**0.5
        left = torch.randn(base.out_features, rank) / base.out_features**0.5
        self.lora_A = nn.Parameter(right.to(base.device, base.dtype))
        self.lora_E = nn.Parameter(torch.zeros(rank, 1, device=base.device, dtype=base.dtype))
        self.lora_B = nn.Parameter(left.to(base.device, base.dtype))
        self.scaling, self.dropout = config.scaling, config.dropout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., in] -> [..., out]``."""
        if not self.enabled:
            return self.base_layer(x)
        # the seed comes from the global generator, so activation checkpointing and replays draw the same mask
        seed = fresh_seed() if self.dropout and self.training else None
        update = Update(self.base, self.scaling, self.dropout, seed)
        # ΛQ is [rank, in], far smaller than the activations, and autograd gives Λ and Q their exact gradients
        right = self.lora_E * self.lora_A
        if self.nested:
            return composed(x, right, self.lora_B, update, self.base_layer)
        return low_rank(x, right, self.lora_B, update)

    def delta(self) -> torch.Tensor:
        """``s · P Λ Q``, ``[out, in]``, computed in float32 (float64 for a float64 base)."""
        exact = torch.promote_types(self.lora_A.dtype, torch.float32)
        right, values, left = (getattr(self, name).detach().to(exact) for name in MATRICES)
        return (left @ (values * right)).mul_(self.scaling)
