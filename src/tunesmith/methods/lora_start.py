"""How ``A`` and ``B`` start.

- kaiming: as in LoRA's code (Kaiming-uniform with a = √5, so |a| < 1/√in), ``B = 0``; gaussian: ``A ~ N(0, 1/rank²)``.
- orthogonal: half of the rank starts in ``A``, the other half in ``B``, so that ``B A = 0`` while both get gradients.
- pissa (Meng et al. 2024, arXiv:2404.02948, eq. 2 and 3): with ``W = U S Vᵀ`` and its first ``rank`` singular values,
  ``A₀ = √(S/s) Vᵀ`` and ``B₀ = U √(S/s)``. The paper then trains ``W - s B₀A₀ + s B A``. Here ``W`` stays as it is and

      s·(B A - B₀ A₀) = s·((B - B₀) A + B₀ (A - A₀))

  is added to it: the same function and gradients, an update that is exactly zero at the start in every dtype, and
  written to a folder, a plain LoRA of twice the rank. Dropout falls on this change only. pissa-fast finds the singular
  vectors by random projection with power iterations (Halko et al. 2011, arXiv:0909.4061, algorithm 4.4).
- loftq (Li et al. 2023, arXiv:2310.08659, algorithm 1 with T = 1): the layer is quantized to ``Q`` and
  ``s B A = SVD_rank(W - Q)``. Further rounds would change ``Q``, and the stored adapter would fit no base but its own.

Shape legend: ``W [out, in]``, ``A [rank, in]``, ``B [out, rank]``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from tunesmith.errors import UserError
from tunesmith.models.linears import BaseLinear, view
from tunesmith.models.quantized import KINDS
from tunesmith.models.quantized.linear import QuantizedLinear
from tunesmith.models.quantized.model import quantize_linear

if TYPE_CHECKING:
    from tunesmith.methods.lora import Lora

POWER_ITERATIONS = 8
OVERSAMPLING = 8


@dataclass(frozen=True)
class Start:
    """Initial ``A`` and ``B`` in float32 (float64 for such a base), and the layer they go around."""

    A: torch.Tensor
    B: torch.Tensor
    base_layer: nn.Module


def start(base_layer: nn.Module, config: Lora) -> Start:
    """The start that ``config`` asks for; random ones are drawn on the CPU from torch's global generator."""
    base, rank = view(base_layer), config.rank
    zero = torch.zeros(base.out_features, rank)
    if config.init == "kaiming":
        A = torch.empty(rank, base.in_features).uniform_(-1.0, 1.0) / math.sqrt(base.in_features)
        return Start(A, zero, base_layer)
    if config.init == "gaussian":
        return Start(torch.randn(rank, base.in_features) / rank, zero, base_layer)
    if config.init == "orthogonal":
        return Start(*_orthogonal(base, rank), base_layer)
    weight = _exact(base)
    if config.init == "loftq":
        base_layer = quantize_linear(base_layer, config.loftq_kind)
        weight = weight - _exact(view(base_layer))
    return Start(*principal(weight, rank, config.scaling, fast=config.init == "pissa-fast"), base_layer)


def principal(weight: torch.Tensor, rank: int, scaling: float, *, fast: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """``A`` and ``B`` such that ``scaling · B A`` is the best approximation of ``weight [out, in]`` of that rank."""
    if fast:
        U, S, V = torch.svd_lowrank(weight, q=min(rank + OVERSAMPLING, *weight.shape), niter=POWER_ITERATIONS)
    else:
        U, S, Vh = torch.linalg.svd(weight, full_matrices=False)
        V = Vh.t()
    root = (S[:rank] / scaling).sqrt()
    return (root[:, None] * V.t()[:rank]).contiguous(), (U[:, :rank] * root).contiguous()


def check_start(path: str, base_layer: nn.Module, config: Lora) -> None:
    """``UserError`` where the start does not fit: ``odd-rank``, ``already-quantized``."""
    if config.init == "orthogonal" and config.rank % 2:
        raise UserError(
            "init: orthogonal splits the rank into two halves", got=config.rank, allowed="even ranks", code="odd-rank"
        )
    if config.init == "loftq":
        KINDS.load(config.loftq_kind)  # raises where there is none of that name
    if config.init == "loftq" and isinstance(base_layer, QuantizedLinear):
        raise UserError(
            f"loftq needs the weight of {path} from before it was quantized",
            hint="Set model.quantize to none: loftq quantizes the layers it adapts to loftq_kind.",
            code="already-quantized",
        )


def _exact(base: BaseLinear) -> torch.Tensor:
    weight = base.dense()
    return weight.to(torch.promote_types(weight.dtype, torch.float32))


def _orthogonal(base: BaseLinear, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    A, B = torch.zeros(rank, base.in_features), torch.zeros(base.out_features, rank)
    A[0::2] = torch.randn(rank // 2, base.in_features) / 10
    B[:, 1::2] = torch.randn(base.out_features, rank // 2) / 10
    return A, B
