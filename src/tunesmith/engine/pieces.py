"""Outputs of a batch whose rows are coupled by the loss, computed piece by piece (Gao et al. 2021, GradCache,
arXiv:2101.06983, section 3.2).

    first pass    each piece without its activations: the outputs alone are kept, and the loss is that of all of them
    second pass   each piece again (with the same dropout), which is given the loss's gradient of its own outputs

By the chain rule that is the gradient of one pass over everything. Memory is that of one piece and of all outputs;
time is one forward pass more. A piece is a checkpointed function of autograd, which does both passes.

The trap: the whole batch must be its pieces one after the other, so outputs are joined in the order of the pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from tunesmith.contracts.batch import Batch
from tunesmith.contracts.policy import Outputs

NAMES = tuple(field.name for field in fields(Outputs) if field.name != "logits")


def in_pieces(forward: Callable[[Batch], Outputs], batches: Sequence[Batch]) -> Outputs:
    """``forward`` of all ``batches``, one after the other, as the outputs of their rows together; differentiable."""
    found = [checkpoint(_tensors, forward, batch, use_reentrant=False) for batch in batches]
    joined: dict[str, Any] = {name: torch.cat([one[name] for one in found]) for name in found[0]}
    return Outputs(**joined)


def _tensors(forward: Callable[[Batch], Outputs], batch: Batch) -> dict[str, torch.Tensor]:
    outputs = forward(batch)
    return {name: value for name in NAMES if (value := getattr(outputs, name)) is not None}
