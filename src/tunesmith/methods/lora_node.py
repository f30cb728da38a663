"""The autograd node of a low-rank update: one pass over the base's output, nothing cast, nothing scaled by itself.

LoRA (Hu et al. 2021, arXiv:2106.09685, eq. 3), with ``D`` dropout's mask of zeros and ones, ``q`` the share it keeps and
``s`` the scaling over ``q``::

    h = (x ∘ D) Aᵀ            y = x Wᵀ + b + s·h Bᵀ
    e = s·g B                 ∂A = eᵀ (x ∘ D)      ∂B = s·gᵀ h      ∂x = g W + (e A) ∘ D      ∂b = Σ g

``s`` rides in the matrix products (``alpha``). Saved for backward: ``x`` itself (linears that read the same input save
the same tensor), ``A``, ``B`` and ``h``; never a mask, which is drawn again from its seed.

Shape legend: ``n`` rows, ``r`` rank; ``x [..., in]``, ``A [r, in]``, ``B [out, r]``, ``g [..., out]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from tunesmith.models.linears import BaseLinear


@dataclass(frozen=True)
class Update:
    """What the node needs besides tensors: the base, the scaling, and dropout's seed (None: no dropout)."""

    base: BaseLinear
    scaling: float
    dropout: float = 0.0
    seed: int | None = None

    @property
    def kept(self) -> float:
        """The share of inputs that dropout keeps: 16 random bits an input decide, so a multiple of 2⁻¹⁶."""
        return 1.0 if self.seed is None else self._threshold / 2**16

    @property
    def factor(self) -> float:
        """``s``."""
        return self.scaling / self.kept

    @property
    def _threshold(self) -> int:
        return max(1, round((1.0 - self.dropout) * 2**16))

    def dropped(self, rows: torch.Tensor) -> torch.Tensor:
        """``rows ∘ D``; the same ``D`` every time, because it is drawn from the update's own seed."""
        if self.seed is None:
            return rows
        generator = torch.Generator(rows.device).manual_seed(self.seed)
        # 64 bits at once and a comparison: a seventh of the time of a Bernoulli draw on a CPU
        words = torch.empty(-(-rows.numel() // 4), dtype=torch.int64, device=rows.device)
        bits = words.random_(-(2**63), None, generator=generator).view(torch.int16)[: rows.numel()]
        return rows * (bits < self._threshold - 2**15).view(rows.shape)


def low_rank(x: torch.Tensor, A: torch.Tensor, B: torch.Tensor, update: Update) -> torch.Tensor:
    """``x Wᵀ + b + s·(x ∘ D) Aᵀ Bᵀ``, ``[..., out]``, differentiable in ``x``, ``A``, ``B`` and the base's bias."""
    if torch.is_autocast_enabled(x.device.type):
        return _composed(x, A, B, update)
    return _LowRank.apply(x, A, B, update.base.bias, update)


class _LowRank(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, A: torch.Tensor, B: torch.Tensor, _bias: torch.Tensor | None, update: Update
    ) -> torch.Tensor:
        # the bias is an input only so that autograd asks for its gradient; the base adds it
        rows = x.reshape(-1, x.shape[-1])
        h = update.dropped(rows) @ A.t()
        y = update.base.forward(rows).addmm_(h, B.t(), alpha=update.factor)
        ctx.update = update
        ctx.save_for_backward(x, A, B, h)
        return y.view(*x.shape[:-1], y.shape[-1])

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        x, A, B, h = ctx.saved_tensors
        update: Update = ctx.update
        need_x, need_A, need_B, need_bias, _ = ctx.needs_input_grad
        g = grad.reshape(-1, grad.shape[-1])
        e = _product(g, B, update.factor) if need_x or need_A else None
        grad_x = grad_A = None
        if need_A and e is not None:
            grad_A = e.t() @ update.dropped(x.reshape(-1, x.shape[-1]))
        if need_x and e is not None:
            grad_x = _grad_input(g, e, A, update).view(x.shape)
        # (hᵀ g)ᵀ rather than gᵀ h: the long side of the product stays contiguous (half the time on a CPU)
        grad_B = _product(h.t(), g, update.factor).t() if need_B else None
        grad_bias = g.sum(0) if need_bias else None
        return grad_x, grad_A, grad_B, grad_bias, None


def _grad_input(g: torch.Tensor, e: torch.Tensor, A: torch.Tensor, update: Update) -> torch.Tensor:
    grad = update.base.grad_input(g)
    if update.seed is None:
        return grad.addmm_(e, A)
    return grad.add_(update.dropped(e @ A))


def _product(a: torch.Tensor, b: torch.Tensor, scale: float) -> torch.Tensor:
    """``scale · a b``, scaled before it is rounded."""
    out = a.new_empty(a.shape[0], b.shape[1])
    return torch.addmm(out, a, b, beta=0, alpha=scale)


def _composed(x: torch.Tensor, A: torch.Tensor, B: torch.Tensor, update: Update) -> torch.Tensor:
    """The same by ordinary operations: under autocast, which decides about dtypes operation by operation."""
    rows = x.reshape(-1, x.shape[-1])
    h = functional.linear(update.dropped(rows), A)
    y = update.base.forward(rows) + update.factor * functional.linear(h, B)
    return y.view(*x.shape[:-1], y.shape[-1])
