"""The layer of LoRA: a linear and its low-rank update, in the dtype the base computes in.

Shape legend: ``A [r, in]``, ``B [out, r]``; ``...`` any leading dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Self

import torch
from torch import nn

from tunesmith.methods.insert import Adapted
from tunesmith.methods.lora_node import Update, composed, low_rank
from tunesmith.methods.lora_start import start
from tunesmith.models.dropping import fresh_seed

if TYPE_CHECKING:
    from tunesmith.methods.lora import Lora


class Exact(nn.Module):
    """A module whose tensors move with the model but are never cast below float32."""

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        def moved(tensor: torch.Tensor) -> torch.Tensor:
            after = fn(tensor)
            dtype = torch.promote_types(after.dtype, torch.float32)
            return after if after.dtype == dtype else tensor.to(after.device, dtype)

        return super()._apply(moved, recurse)


class Origin(Exact):
    """``A₀`` and ``B₀`` that a PiSSA started from."""

    def __init__(self, A: torch.Tensor, B: torch.Tensor) -> None:
        super().__init__()
        exact = torch.promote_types(A.dtype, torch.float32)
        self.register_buffer("A", A.detach().to(exact, copy=True), persistent=False)
        self.register_buffer("B", B.detach().to(exact, copy=True), persistent=False)
        self.A: torch.Tensor
        self.B: torch.Tensor


class LoraLinear(Adapted):
    """A linear layer plus its low-rank update."""

    def __init__(self, base_layer: nn.Module, config: Lora) -> None:
        first = start(base_layer, config)
        super().__init__(first.base_layer)
        base = self.base
        self.lora_A = nn.Parameter(first.A.to(base.device, base.dtype))
        self.lora_B = nn.Parameter(first.B.to(base.device, base.dtype))
        pissa = config.init in ("pissa", "pissa-fast")
        self.origin = Origin(self.lora_A, self.lora_B) if pissa else None
        self.scaling, self.dropout = config.scaling, config.dropout

    def matrices(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The update's two factors: ``A`` and ``B``, or ``[A; A - A₀]`` and ``[B - B₀, B₀]``."""
        A, B = self.lora_A, self.lora_B
        if self.origin is None:
            return A, B
        A0, B0 = self.origin.A.to(A.dtype), self.origin.B.to(B.dtype)
        return torch.cat([A, A - A0]), torch.cat([B - B0, B0], 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., in] -> [..., out]``."""
        if not self.enabled:
            return self.base_layer(x)
        A, B = self.matrices()
        if self.nested:
            return composed(x, A, B, self.update(), self.base_layer)
        return low_rank(x, A, B, self.update())

    def update(self) -> Update:
        """What a node needs besides tensors, with a new seed where there is dropout."""
        # the seed comes from the global generator, so activation checkpointing and replays draw the same mask
        seed = fresh_seed() if self.dropout and self.training else None
        return Update(self.base, self.scaling, self.dropout, seed)

    def delta(self) -> torch.Tensor:
        """``s · B A``, ``[out, in]``, computed in float32 (float64 for a float64 base)."""
        A, B = (matrix.detach() for matrix in self.matrices())
        exact = torch.promote_types(A.dtype, torch.float32)
        return (B.to(exact) @ A.to(exact)).mul_(self.scaling)
