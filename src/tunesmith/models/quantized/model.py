"""A model's linears quantized, and back.

The order of a training is: load, quantize, attach the method, take masters, cast. Linears of the blocks are quantized;
embeddings, norms and head stay as they are. A frozen model is expected: what is packed cannot be trained.

Merging an adapter needs dense weights: ``dequantize_model`` first makes the model the plain one it was (same names and
shapes, weights as quantized, in the dtype it computes in), the method then adds its update to those.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from tunesmith.errors import UserError
from tunesmith.models.layers import resolve_targets
from tunesmith.models.linears import view
from tunesmith.models.quantized.linear import QuantizedLinear


@dataclass(frozen=True)
class Quantized:
    """What ``quantize_model`` did."""

    kind: str
    layers: tuple[str, ...]
    """Paths of the quantized linears."""
    weights: int
    """Weights in them."""
    before: int
    """Bytes of these weights as they were held."""
    after: int
    """Bytes of what is held now."""

    @property
    def ratio(self) -> float:
        """``after`` as a share of the same weights in bfloat16."""
        return self.after / (2 * self.weights)


def quantize_model(
    model: nn.Module, kind: str, *, targets: str | Sequence[str] = "all-linear", skip: Sequence[str] = ()
) -> Quantized:
    """Replace linears of ``model`` by quantized ones, in place, one after the other, freeing each weight at once.

    ``kind`` is a name of ``quantized.KINDS``; ``targets`` and ``skip`` are what ``layers.resolve_targets`` understands.
    Raises ``UserError``: ``unknown-quantization``, ``unknown-target``, ``unknown-family``, ``already-quantized``,
    ``weight-not-finite``.
    """
    if any(isinstance(module, QuantizedLinear) for module in model.modules()):
        raise UserError("this model is quantized already", hint="Load the base again.", code="already-quantized")
    left = set(resolve_targets(model, list(skip))) if skip else set()
    paths = [path for path in resolve_targets(model, targets) if path not in left]
    weights = before = after = 0
    for path in paths:
        old = model.get_submodule(path)
        new = quantize_linear(old, kind)
        weights += new.in_features * new.out_features
        before += view(old).dense().nbytes
        after += new.packed_bytes
        _place(model, path, new)
        del old
    return Quantized(kind, tuple(paths), weights, before, after)


def quantize_linear(module: nn.Module, kind: str) -> QuantizedLinear:
    """A quantized layer with the weight of ``module`` (``nn.Linear`` or ``Conv1D``) and its very bias."""
    base = view(module)
    layer = QuantizedLinear(base.dense(), base.bias, kind=kind, transposed=base.transposed)
    return layer.train(module.training)


def dense_linear(module: nn.Module) -> nn.Module:
    """A dense layer of its own memory that computes what ``module`` does: an ``nn.Linear``, or a ``Conv1D`` for one.

    The weight has the dtype ``module`` computes in and is frozen; a bias is copied with its ``requires_grad``.
    """
    base = view(module)
    with torch.device("meta"):
        dense: nn.Module = (
            Conv1D(base.out_features, base.in_features)
            if base.transposed
            else nn.Linear(base.in_features, base.out_features, bias=base.bias is not None)
        )
    weight = base.dense().t() if base.transposed else base.dense()
    dense.weight = nn.Parameter(weight.clone(memory_format=torch.contiguous_format), requires_grad=False)
    if base.bias is not None:
        dense.bias = nn.Parameter(base.bias.detach().clone(), requires_grad=base.bias.requires_grad)
    return dense.train(module.training)


def dequantize_model(model: nn.Module) -> nn.Module:
    """Put a dense layer in the place of every quantized one, also inside adapted layers; gives ``model`` back.

    Biases stay the parameters that they are, so an adapter that trains them still does.
    """
    for path in [name for name, module in model.named_modules() if isinstance(module, QuantizedLinear)]:
        old = model.get_submodule(path)
        dense = dense_linear(old)
        if old.bias is not None:
            dense.bias = old.bias
        _place(model, path, dense)
        del old
    return model


@contextmanager
def dequantized(model: nn.Module, *, room: int | None = None) -> Iterator[None]:
    """Within it every quantized layer keeps its dense weight, as after ``keep_dense``."""
    layers = keep_dense(model, room=room)
    try:
        yield
    finally:
        for layer in layers:
            layer.kept = None


def keep_dense(model: nn.Module, *, room: int | None = None) -> list[QuantizedLinear]:
    """Let quantized layers keep their dense weights: unpacked once, for generation. The outputs stay what they are.

    That takes their memory in the dtype the model computes in; where it is more than ``room`` bytes nothing is kept.
    Returns the layers that keep theirs from now on.
    """
    layers = [module for module in model.modules() if isinstance(module, QuantizedLinear) and module.kept is None]
    if room is not None and sum(one.in_features * one.out_features * one.dtype.itemsize for one in layers) > room:
        return []
    for layer in layers:
        layer.kept = layer.dense()
    return layers


def _place(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)
