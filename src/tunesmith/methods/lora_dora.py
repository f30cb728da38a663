"""DoRA: the weight's direction gets a low-rank update, its length is trained apart (Liu et al. 2024, arXiv:2402.09353).

Eq. 5 with ``V = W + s B A``, a magnitude ``m`` an output and the Euclidean norm ``‖V‖`` of each of its rows (columns in
the paper, which writes ``W`` the other way round)::

    y = f ∘ (x Vᵀ) + b      f = m / ‖V‖      ∂m = Σ g ∘ (x Vᵀ) / ‖V‖ = (Σ g ∘ y - b ∘ Σ g) / m

``‖V‖`` is a constant to the gradient (section 4.3). ``m`` starts at ``‖V‖``, so ``f - 1``, by which outputs are
corrected (``y += (f - 1) ∘ (y - b)``), is exactly zero: step 0 is the base, bit for bit, and half precision rounds
``f - 1``, not ``f`` with its steps of 0.8%. With dropout's mask ``D``, kept share ``k`` and ``z = x ∘ D / k``, as in
the paper's code and in PEFT::

    y = x Wᵀ + b + (f - 1) ∘ (z Wᵀ) + f ∘ (s z Aᵀ Bᵀ)

The norm needs no ``[out, in]`` temporary: ``‖V‖² = ‖W‖² + 2s Σᵣ B ∘ (W Aᵀ) + s² Σᵣ (B (A Aᵀ)) ∘ B``, where ``‖W‖²`` is
computed once. ``m`` and ``‖W‖²`` stay float32 in a model that is cast to half precision.
Saved for backward: ``x``, ``h``, ``A``, ``B``, vectors, and the output ``y`` itself (with dropout ``z Vᵀ`` instead).

Shape legend: ``n`` rows, ``r`` rank; ``x [..., in]``, ``A [r, in]``, ``B [out, r]``; ``m, f, b [out]``; ``g`` as ``y``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from tunesmith.methods.lora_layer import Exact, LoraLinear
from tunesmith.methods.lora_node import Update, product
from tunesmith.models.linears import BaseLinear

if TYPE_CHECKING:
    from tunesmith.methods.lora import Lora

FLAT = 1e-12
"""Rows of the weight below this length have no direction: their magnitude rests."""


class Magnitude(Exact):
    """``m`` as ``weight``, and ``‖W‖²`` of the frozen weight."""

    def __init__(self, base: BaseLinear) -> None:
        super().__init__()
        exact = torch.promote_types(base.dtype, torch.float32)
        squares = torch.linalg.vector_norm(base.dense(), dim=1, dtype=exact).square()
        self.register_buffer("squares", squares, persistent=False)
        self.squares: torch.Tensor
        self.weight = nn.Parameter(squares.sqrt())


@dataclass(frozen=True)
class Known:
    """The lengths of ``V`` for these values of ``A`` and ``B``."""

    A: torch.Tensor
    B: torch.Tensor
    lengths: torch.Tensor

    def of(self, A: torch.Tensor, B: torch.Tensor) -> bool:
        """Whether they are those of ``A`` and ``B``."""
        pairs = ((self.A, A), (self.B, B))
        return all(old.dtype == new.dtype and torch.equal(old, new) for old, new in pairs)


class DoraLinear(LoraLinear):
    """A linear layer, the low-rank update of its direction, and its magnitude."""

    known: Known | None = None
    """What the last pass without gradients computed."""

    def __init__(self, base_layer: nn.Module, config: Lora) -> None:
        super().__init__(base_layer, config)
        self.lora_magnitude_vector = Magnitude(self.base)
        with torch.no_grad():
            self.lora_magnitude_vector.weight.copy_(self.lengths(*self.matrices()))

    @torch.no_grad()
    def lengths(self, A: torch.Tensor, B: torch.Tensor) -> torch.Tensor:
        """``‖W + s B A‖`` of each row, ``[out]``, float32."""
        squares = self.lora_magnitude_vector.squares
        cross = (self.base.dense() @ A.t()).to(squares.dtype)
        A, B = A.to(squares.dtype), B.to(squares.dtype)
        change = (2 * cross + self.scaling * (B @ (A @ A.t()))).mul_(B).sum(1)
        return (squares + self.scaling * change).clamp_(min=FLAT**2).sqrt()

    @torch.no_grad()
    def settled(self, A: torch.Tensor, B: torch.Tensor) -> torch.Tensor:
        """The same, computed once for these values: a decoding step would spend as much on it as on its tokens.

        Only on a CPU; elsewhere the comparison of values would wait for the device in every layer.
        """
        if A.device.type != "cpu":
            return self.lengths(A, B)
        if self.known is None or not self.known.of(A, B):
            self.known = Known(A.clone(), B.clone(), self.lengths(A, B))
        return self.known.lengths

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., in] -> [..., out]``."""
        if not self.enabled:
            return self.base_layer(x)
        A, B = self.matrices()
        lengths = self.lengths(A, B) if torch.is_grad_enabled() else self.settled(A, B)
        m, update = self.lora_magnitude_vector.weight, self.update()
        if self.nested or torch.is_autocast_enabled(x.device.type):
            return dora_composed(x, A, B, (m - lengths) / lengths, update, self.base_layer)
        return _Dora.apply(x, A, B, m, update.base.bias, lengths, update)

    def delta(self) -> torch.Tensor:
        """``f ∘ (W + s B A) - W``, ``[out, in]``, computed in float32 (float64 for a float64 base)."""
        m, lengths = self.lora_magnitude_vector.weight.detach(), self.lengths(*self.matrices())
        change = super().delta().mul_((m / lengths)[:, None])
        return change.addcmul_(self.base.dense().to(change.dtype), ((m - lengths) / lengths)[:, None])


class _Dora(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        A: torch.Tensor,
        B: torch.Tensor,
        m: torch.Tensor,
        bias: torch.Tensor | None,
        lengths: torch.Tensor,
        update: Update,
    ) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        excess = ((m - lengths) / lengths).to(x.dtype)  # f - 1
        mask = update.mask(rows)
        y = update.base.forward(rows)
        if mask is None:
            h = rows @ A.t()
            saved = y.addmm_(h, B.t(), alpha=update.scaling)
            y.addcmul_(y, excess)
            if bias is not None:
                y.sub_(excess * bias)
        else:
            dropped = rows * mask
            h, saved = dropped @ A.t(), dropped @ update.base.dense().t()
            y.addcmul_(saved, excess / update.kept)
            y.addmm_(h, torch.addcmul(B, B, excess[:, None]).t(), alpha=update.factor)
            saved.addmm_(h, B.t(), alpha=update.scaling)
        ctx.update = update
        ctx.save_for_backward(x, A, B, h, saved, excess, m, bias, lengths)
        return y.view(*x.shape[:-1], y.shape[-1])

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        x, A, B, h, saved, excess, m, bias, lengths = ctx.saved_tensors
        update: Update = ctx.update
        need_x, need_A, need_B, need_m, need_bias, *_ = ctx.needs_input_grad
        g, rows = grad.reshape(-1, grad.shape[-1]), x.reshape(-1, x.shape[-1])
        mask = update.mask(rows)
        scaled = torch.addcmul(g, g, excess)  # f ∘ g
        e = product(scaled, B, update.factor)
        grad_bias = g.sum(0) if need_bias else None
        grad_m = None
        if need_m:
            total = (g * saved).sum(0, dtype=m.dtype)
            if mask is not None:
                grad_m = total / (update.kept * lengths)
            else:
                if bias is not None:
                    total -= bias * (g.sum(0) if grad_bias is None else grad_bias)
                grad_m = torch.where(m.abs() > FLAT, total / m, 0)
        return (
            _grad_input(g, scaled, e, A, mask, excess, update).view(x.shape) if need_x else None,
            e.t() @ (rows if mask is None else rows * mask) if need_A else None,
            product(h.t(), scaled, update.factor).t() if need_B else None,
            grad_m,
            grad_bias,
            None,
            None,
        )


def _grad_input(
    g: torch.Tensor,
    scaled: torch.Tensor,
    e: torch.Tensor,
    A: torch.Tensor,
    mask: torch.Tensor | None,
    excess: torch.Tensor,
    update: Update,
) -> torch.Tensor:
    if mask is None:
        return update.base.grad_input(scaled).addmm_(e, A)
    dropped = update.base.grad_input(g * (excess / update.kept)).addmm_(e, A)
    return update.base.grad_input(g).addcmul_(dropped, mask)


def dora_composed(
    x: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    excess: torch.Tensor,
    update: Update,
    base: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """The same by ordinary operations: under autocast, which decides dtypes itself, and around another adapter.

    ``excess [out]`` is ``f - 1``, differentiable in ``m``.
    """
    rows = x.reshape(-1, x.shape[-1])
    mask = update.mask(rows)
    z = rows if mask is None else rows * mask
    low = functional.linear(functional.linear(z, A), B) * update.factor
    change = excess * (functional.linear(z, update.base.dense()) / update.kept + low) + low
    y = base(rows)
    return (y + change.to(y.dtype)).view(*x.shape[:-1], y.shape[-1])
