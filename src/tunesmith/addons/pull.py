"""A quadratic pull back to where training began,

    P(θ) = w/2 · Σ_i s_i (θ_i − θ_i⁰)²,      ∂P/∂θ_i = w · s_i (θ_i − θ_i⁰).

Distances are those of the float32 masters: a model that computes in bfloat16 cannot hold how far it has come.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tunesmith.contracts.addon import Masters

if TYPE_CHECKING:
    import torch

    Values = Mapping[str, torch.Tensor]
    """Float32 tensors by the stable names of trained parameters."""


def start_of(weights: Masters) -> dict[str, torch.Tensor]:
    """A copy of the masters."""
    return {name: value.detach().clone() for name, value in weights.values.items()}


def pull(weights: Masters, start: Values, *, weight: float, stiffness: Values | None = None) -> torch.Tensor:
    """``P`` as a scalar whose backward gives every trained parameter its gradient; without ``stiffness`` all s are 1.

    The gradient is put in by hand, ``(θ − stop(θ)) · ∂P/∂θ``, because the distance is not a function of the copy that
    the model computes with.
    """
    value = next(iter(weights.values.values())).new_zeros(())
    carrier = value
    for name, parameter in weights.parameters.items():
        away = weights.values[name].detach() - start[name]
        slope = weight * (away if stiffness is None else stiffness[name] * away)
        value = value + 0.5 * (slope * away).sum()
        carrier = carrier + ((parameter - parameter.detach()) * slope.to(parameter.dtype)).sum()
    return value + carrier
