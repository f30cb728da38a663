"""Useful floating-point operations of an update: what has to be computed, whatever a tool computes besides.

A weight of ``n`` elements costs ``2n`` a token forward, ``2n`` more for the gradient that passes through it (above the
lowest trained parameter only) and ``2n`` where it is trained itself. Causal attention costs ``2·s·H·D`` a layer and
token forward (``s`` = Σ length² / Σ length), 2.5 times that backward. The head counts loss tokens only. Recomputation
and padding count nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from tunesmith.models.quantized.linear import QuantizedLinear


def update_flops(model: Any, lengths: Sequence[int], loss_tokens: float) -> float:
    """FLOPs of one update over sequences of ``lengths`` of which ``loss_tokens`` tokens carry loss."""
    head = model.get_output_embeddings()
    outside = [model.get_input_embeddings(), *([head] if head is not None else [])]
    skipped = {id(parameter) for module in outside for parameter in module.parameters()}
    per_token = 0.0
    passes = False
    for module in model.modules():
        if isinstance(module, QuantizedLinear):
            per_token += module.in_features * module.out_features * (2 + 2 * passes)
        for parameter in module.parameters(recurse=False):
            passes |= parameter.requires_grad
            if parameter.ndim >= 2 and id(parameter) not in skipped:
                per_token += parameter.numel() * (2 + 2 * passes + 2 * parameter.requires_grad)
            skipped.add(id(parameter))  # a tied weight is counted where it stands first
    head_cost = 0.0  # a task head is too small to count
    if head is not None:
        weight = next(head.parameters())
        head_cost = weight.numel() * (4 + 2 * weight.requires_grad) * loss_tokens
    return per_token * sum(lengths) + head_cost + _attention(model, lengths, passes=passes)


def _attention(model: Any, lengths: Sequence[int], *, passes: bool) -> float:
    config = model.config.get_text_config()
    heads = int(config.num_attention_heads)
    size = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    squares = sum(length * length for length in lengths)
    return 2.0 * squares * heads * size * int(config.num_hidden_layers) * (3.5 if passes else 1.0)


def trainable(model: nn.Module) -> int:
    """Number of parameters that receive gradients."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
