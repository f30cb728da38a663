"""AdaLoRA's rules: how many singular values are left after an update, which, and what their vectors must be
(arXiv:2303.10512).

Budget, with ``t`` updates done of ``T`` (eq. 12; the descent begins at ``t_init``, as in the authors' code)::

    b(t) = b₀                                                              t ≤ t_init
           b₁ + (b₀ - b₁) (1 - (t - t_init) / (T - t_init - t_final))³     between, rounded down
           b₁                                                              t ≥ T - t_final

Importance of an entry ``w`` with gradient ``g``, both before the update's step (eq. 8 to 11)::

    I = |w g|    Ī ← β₁ Ī + (1 - β₁) I    Ū ← β₂ Ū + (1 - β₂) |I - Ī|    s(w) = Ī Ū

and of singular value ``i`` with its two vectors (eq. 7):  S_i = s(λ_i) + mean_j s(P_ji) + mean_j s(Q_ij).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

MEAN, SPREAD = "|mean", "|spread"
"""Endings of the names of Ī and Ū."""


@dataclass(frozen=True)
class Budget:
    """``first`` singular values fall to ``last`` between the updates ``begin`` and ``end``."""

    first: int
    last: int
    begin: int
    end: int
    every: int

    @classmethod
    def of(cls, first: int, last: int, *, t_init: float, t_final: float, delta_t: float, steps: int) -> Budget:
        """``t_init``, ``t_final`` and ``delta_t`` are shares of ``steps`` below 1, numbers of updates from 1 on.

        Where the run is too short for ``t_init`` and ``t_final``, both shrink in proportion, so that it always ends
        with ``last``.
        """
        before, after = updates(t_init, steps), updates(t_final, steps)
        if before + after >= steps:
            shorter = (steps - 1) / (before + after)
            before, after = int(before * shorter), int(after * shorter)
        return cls(first, last, before, steps - after, max(1, updates(delta_t, steps)))

    def at(self, step: int) -> int:
        """b(``step``)."""
        if step <= self.begin:
            return self.first
        if step >= self.end:
            return self.last
        left = 1 - (step - self.begin) / (self.end - self.begin)
        return int(self.last + (self.first - self.last) * left**3)

    def allocates(self, step: int) -> bool:
        """Whether update ``step`` chooses anew which singular values are kept; the one at ``end`` does for good."""
        return step == self.end or (self.begin < step < self.end and step % self.every == 0)


def updates(length: float, steps: int) -> int:
    """A share of all ``steps`` below 1, a number of updates from 1 on."""
    return round(length * steps) if length < 1 else round(length)


class Importance:
    """``averages``: Ī and Ū of every entry, float32, by ``<parameter>|mean`` and ``<parameter>|spread``."""

    def __init__(self, averages: Mapping[str, torch.Tensor]) -> None:
        self.averages = dict(averages)

    @torch.no_grad()
    def see(self, name: str, value: torch.Tensor, *, beta1: float, beta2: float) -> None:
        """Add one update's value and gradient; a parameter without a gradient had no influence on the loss."""
        if name + MEAN not in self.averages:
            self.averages[name + MEAN] = torch.zeros_like(value)
            self.averages[name + SPREAD] = torch.zeros_like(value)
        now = torch.zeros_like(value) if value.grad is None else (value * value.grad).abs_()
        mean, spread = self.averages[name + MEAN], self.averages[name + SPREAD]
        mean.mul_(beta1).add_(now, alpha=1 - beta1)
        spread.mul_(beta2).add_(now.sub_(mean).abs_(), alpha=1 - beta2)

    def of(self, name: str) -> torch.Tensor:
        """``s`` of every entry of a parameter."""
        return self.averages[name + MEAN] * self.averages[name + SPREAD]

    def of_triplets(self, right: str, values: str, left: str) -> torch.Tensor:
        """``S [rank]`` on the CPU of the parameters ``Q [rank, in]``, ``λ [rank, 1]`` and ``P [out, rank]``."""
        return (self.of(values).squeeze(1) + self.of(left).mean(0) + self.of(right).mean(1)).cpu()


def best(scores: Mapping[str, torch.Tensor], budget: int) -> dict[str, torch.Tensor]:
    """Masks of the ``budget`` largest of all ``scores`` together; of equal ones the first (eq. 6)."""
    every = torch.cat(list(scores.values()))
    kept = torch.zeros(len(every), dtype=torch.bool)
    kept[torch.argsort(every, descending=True, stable=True)[:budget]] = True
    return dict(zip(scores, kept.split([len(score) for score in scores.values()]), strict=True))


def off_orthonormal(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """``R(P, Q) = ‖PᵀP - I‖² + ‖Q Qᵀ - I‖²`` (eq. 4), at least float32, of ``P [out, rank]`` and ``Q [rank, in]``."""
    exact = torch.promote_types(left.dtype, torch.float32)
    P, Q = left.to(exact), right.to(exact)
    unit = torch.eye(len(Q), device=Q.device, dtype=exact)
    return (P.t() @ P - unit).square().sum() + (Q @ Q.t() - unit).square().sum()
