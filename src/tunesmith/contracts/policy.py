"""A model as the engine sees it: one call from a batch to what the objective asked for, head included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

    from tunesmith.contracts.batch import Batch


@dataclass(frozen=True)
class Want:
    """What an objective needs of a forward pass, computed in chunks inside the head."""

    logprob: bool = True
    """log p(label) of every readout row, differentiable."""
    hit: bool = False
    """whether the label is the most likely token (no gradient)."""
    scores: bool = False
    """the outputs of a task head at every readout row, differentiable, in place of all of the above."""


@dataclass(frozen=True)
class Outputs:
    """``logprob`` float32 ``[N]``, ``hit`` bool ``[N]``, ``scores`` float32 ``[N, C]``; None where not wanted."""

    logprob: torch.Tensor | None = None
    hit: torch.Tensor | None = None
    scores: torch.Tensor | None = None


class Policy(Protocol):
    """The ``nn.Module`` that wraps a model and its head (``models.policy.CausalPolicy``)."""

    def __call__(self, batch: Batch, want: Want) -> Outputs:
        """Forward ``batch`` and return what ``want`` names."""
        ...
