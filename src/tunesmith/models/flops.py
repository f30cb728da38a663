"""Useful floating-point operations of an update: what has to be computed, whatever a tool computes besides.

A weight of ``n`` elements costs ``2n`` a row forward, ``2n`` more for the gradient that passes through it (above the
lowest trained parameter only) and ``2n`` where it is trained itself. Causal attention costs ``2·s·H·D`` a layer and
row forward (``s`` = Σ length² / Σ length), 2.5 times that backward where a gradient passes. The head counts loss tokens
only. Recomputation and padding count nothing.

Rows are tokens, and the vectors that a prompt puts in front of each sequence; a prefix has no rows, every token attends
to all of it. Above either, gradients pass everywhere. What computes the vectors from smaller ones is not counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from tunesmith.models.layers import block_lists
from tunesmith.models.prefixed import PLACE, rows_ahead
from tunesmith.models.quantized.linear import QuantizedLinear


def update_flops(model: Any, lengths: Sequence[int], loss_tokens: float, *, trunk: float = 1.0) -> float:
    """FLOPs of one update over sequences of ``lengths`` of which ``loss_tokens`` tokens carry loss.

    ``trunk`` is the share of the rows for which the layers below the lowest trained one are run (``models.trunk``).
    """
    virtual = int(getattr(model.base_model, "virtual_positions", 0))
    prompt = rows_ahead(model)
    prefix = virtual - prompt
    rows = [length + prompt for length in lengths]
    head = model.get_output_embeddings()
    head_cost = 0.0  # a task head is too small to count
    if head is not None:
        weight = next(head.parameters())
        head_cost = weight.numel() * (4 + 2 * weight.requires_grad) * loss_tokens
    below, share = _frozen(model, virtual > 0)
    per_row = sum(cost * (trunk if id(module) in below else 1.0) for module, cost in _weights(model, head, virtual > 0))
    pairs = sum(2.0 * length * length + 4.0 * length * prefix for length in rows)
    return per_row * sum(rows) + head_cost + pairs * _width(model) * (share * trunk + 3.5 * (1.0 - share))


def _frozen(model: Any, virtual: bool) -> tuple[set[int], float]:
    """The modules of the layers that no gradient passes, by id, and these layers' share of all."""
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    found = block_lists(model)
    if virtual or len(found) != 1 or any(_trained(module) for module in embeddings):
        return set(), 0.0
    blocks = list(found[0].blocks)
    below = blocks[: next((number for number, block in enumerate(blocks) if _trained(block)), len(blocks))]
    return {id(module) for block in below for module in block.modules()}, len(below) / len(blocks)


def _trained(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def _weights(model: Any, head: Any, virtual: bool) -> Iterator[tuple[nn.Module, float]]:
    """FLOPs a row of the weights between embeddings and head, module by module."""
    embeddings = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    vectors = [module for name, module in model.named_modules() if virtual and name.rpartition(".")[2] == PLACE]
    outside = [model.get_input_embeddings(), *embeddings, *vectors, *([] if head is None else [head])]
    skipped = {id(parameter) for module in outside for parameter in module.parameters()}
    passes = virtual
    for module in model.modules():
        if isinstance(module, QuantizedLinear):
            yield module, module.in_features * module.out_features * (2.0 + 2 * passes)
        for parameter in module.parameters(recurse=False):
            passes |= parameter.requires_grad
            if parameter.ndim >= 2 and id(parameter) not in skipped:
                yield module, parameter.numel() * (2.0 + 2 * passes + 2 * parameter.requires_grad)
            skipped.add(id(parameter))  # a tied weight is counted where it stands first


def _width(model: Any) -> float:
    """Query width of all layers together."""
    config = model.config.get_text_config()
    heads = int(config.num_attention_heads)
    size = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    return float(heads * size * int(config.num_hidden_layers))
