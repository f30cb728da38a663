"""The autograd node of a low-rank update: one pass over the base's output, nothing cast, nothing scaled by itself.

LoRA (Hu et al. 2021, arXiv:2106.09685, eq. 3), with ``D`` dropout's mask of zeros and ones, and ``s`` the scaling over
the share that ``D`` keeps::

    h = (x ∘ D) Aᵀ            y = x Wᵀ + b + s·h Bᵀ
    e = s·g B                 ∂A = eᵀ (x ∘ D)      ∂B = s·gᵀ h      ∂x = g W + (e A) ∘ D      ∂b = Σ g

``s`` rides in the matrix products (``alpha``). Saved for backward: ``x`` itself (linears that read the same input save
the same tensor), ``A``, ``B`` and ``h``; never a mask, which is drawn again from its seed.

Shape legend: ``n`` rows, ``r`` rank; ``x [..., in]``, ``A [r, in]``, ``B [out, r]``, ``g [..., out]``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from tunesmith.models import dropping
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
        """The share of inputs that dropout keeps."""
        return 1.0 if self.seed is None else dropping.kept(self.dropout)

    @property
    def factor(self) -> float:
        """``s``."""
        return self.scaling / self.kept

    def mask(self, rows: torch.Tensor) -> torch.Tensor | None:
        """``D`` in the shape and dtype of ``rows``, the same every time; None without dropout."""
        return None if self.seed is None else dropping.mask(rows, self.dropout, self.seed)


def low_rank(x: torch.Tensor, A: torch.Tensor, B: torch.Tensor, update: Update) -> torch.Tensor:
    """``x Wᵀ + b + s·(x ∘ D) Aᵀ Bᵀ``, ``[..., out]``, differentiable in ``x``, ``A``, ``B`` and the base's bias."""
    if torch.is_autocast_enabled(x.device.type):
        return composed(x, A, B, update, update.base.forward)
    return _LowRank.apply(x, A, B, update.base.bias, update)


class _LowRank(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, A: torch.Tensor, B: torch.Tensor, _bias: torch.Tensor | None, update: Update
    ) -> torch.Tensor:
        # the bias is an input only so that autograd asks for its gradient; the base adds it
        rows = x.reshape(-1, x.shape[-1])
        h = _masked(rows, update.mask(rows)) @ A.t()
        y = update.base.forward(rows).addmm_(h, B.t(), alpha=update.factor)
        ctx.update = update
        ctx.save_for_backward(x, A, B, h)
        return y.view(*x.shape[:-1], y.shape[-1])

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        x, A, B, h = ctx.saved_tensors
        update: Update = ctx.update
        need_x, need_A, need_B, need_bias, _ = ctx.needs_input_grad
        g, rows = grad.reshape(-1, grad.shape[-1]), x.reshape(-1, x.shape[-1])
        e, mask = product(g, B, update.factor), update.mask(rows)
        return (
            _grad_input(g, e, A, update.base, mask).view(x.shape) if need_x else None,
            e.t() @ _masked(rows, mask) if need_A else None,
            # (hᵀ g)ᵀ rather than gᵀ h: the long side of the product stays contiguous (half the time on a CPU)
            product(h.t(), g, update.factor).t() if need_B else None,
            g.sum(0) if need_bias else None,
            None,
        )


def _grad_input(
    g: torch.Tensor, e: torch.Tensor, A: torch.Tensor, base: BaseLinear, mask: torch.Tensor | None
) -> torch.Tensor:
    grad = base.grad_input(g)
    return grad.addmm_(e, A) if mask is None else grad.addcmul_(e @ A, mask)


def _masked(rows: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    return rows if mask is None else rows * mask


def product(a: torch.Tensor, b: torch.Tensor, scale: float) -> torch.Tensor:
    """``scale · a b``, scaled before it is rounded."""
    out = a.new_empty(a.shape[0], b.shape[1])
    return torch.addmm(out, a, b, beta=0, alpha=scale)


def composed(
    x: torch.Tensor, A: torch.Tensor, B: torch.Tensor, update: Update, base: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """The same by ordinary operations: under autocast, which decides dtypes itself, and around another adapter."""
    rows = x.reshape(-1, x.shape[-1])
    h = functional.linear(_masked(rows, update.mask(rows)), A)
    y = base(rows) + update.factor * functional.linear(h, B)
    return y.view(*x.shape[:-1], y.shape[-1])
