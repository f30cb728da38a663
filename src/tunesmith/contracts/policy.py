"""A model as the engine sees it: one call from a batch to what the objective asked for, head included."""

from __future__ import annotations

from collections.abc import Callable
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
    hidden: bool = False
    """the last hidden state of every readout row, differentiable."""
    value: bool = False
    """the value head's output at every readout row, differentiable."""
    entropy: bool = False
    """entropy of the distribution at every readout row, in nats (no gradient)."""
    token_fn: Callable[[torch.Tensor, slice, Batch], torch.Tensor] | None = None
    """a function of the logits of a chunk of readout rows: logits float32 ``[n, V]``, which rows, the batch ->
    float32 ``[n, K]``, differentiable; nobody holds ``[N, V]``."""


@dataclass(frozen=True)
class Outputs:
    """What was wanted, None where it was not.

    ``logprob`` float32 ``[N]``, ``hit`` bool ``[N]``, ``scores`` float32 ``[N, C]``, ``hidden [N, d]``, ``value`` and
    ``entropy`` float32 ``[N]``, ``values`` float32 ``[N, K]`` (of ``token_fn``).
    """

    logprob: torch.Tensor | None = None
    hit: torch.Tensor | None = None
    scores: torch.Tensor | None = None
    hidden: torch.Tensor | None = None
    value: torch.Tensor | None = None
    entropy: torch.Tensor | None = None
    values: torch.Tensor | None = None
    logits: Callable[[torch.Tensor], torch.Tensor] | None = None
    """Hidden states ``[n, d]`` to the logits ``[n, V]`` of the model that gave ``hidden``."""


class Policy(Protocol):
    """The ``nn.Module`` that wraps a model and its head (``models.policy.CausalPolicy``)."""

    def __call__(self, batch: Batch, want: Want) -> Outputs:
        """Forward ``batch`` and return what ``want`` names."""
        ...
