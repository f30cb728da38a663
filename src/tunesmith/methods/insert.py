"""Putting layers into a model and taking them out again: what methods that wrap linear layers share.

A wrapped linear keeps its base as ``base_layer`` (PEFT's word), so parameter names are PEFT's too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from tunesmith.errors import UserError
from tunesmith.models.linears import BaseLinear, view
from tunesmith.models.quantized.linear import QuantizedLinear
from tunesmith.models.quantized.model import dense_linear


class Inserted(nn.Module):
    """Whatever a method has put into a model: layers around its own, or vectors beside its words."""


class Adapted(Inserted):
    """A linear layer with something added to it; with ``enabled = False`` it is its base, bit for bit."""

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.enabled = True

    @property
    def nested(self) -> bool:
        """Whether the base is itself an adapted layer: several adapters at once."""
        return isinstance(self.base_layer, Adapted)

    @property
    def base(self) -> BaseLinear:
        """The innermost base as every method sees it."""
        return self.base_layer.base if isinstance(self.base_layer, Adapted) else view(self.base_layer)

    # what model code reads of its linears (T5 asks for the weight's dtype)
    @property
    def weight(self) -> torch.Tensor:
        """The base's own weight."""
        return self.base_layer.weight  # type: ignore[return-value]

    @property
    def bias(self) -> nn.Parameter | None:
        """The base's own bias."""
        return self.base.bias

    @property
    def in_features(self) -> int:
        """Width of the input."""
        return self.base.in_features

    @property
    def out_features(self) -> int:
        """Width of the output."""
        return self.base.out_features


Layer = TypeVar("Layer", bound=Adapted)


def refuse_adapted(model: nn.Module) -> None:
    """A ``UserError`` (``already-attached``) where a method has already put layers or virtual tokens into ``model``."""
    if any(isinstance(module, Inserted) for module in model.modules()):
        raise UserError(
            "this model already carries an adapter",
            hint="Merge it with `attached.merge()`, take it out with `attached.remove()`, or load the base again.",
            code="already-attached",
        )


def refuse_rank(model: nn.Module, ranks: Mapping[str, int], *, hint: str) -> None:
    """A ``UserError`` (``rank-too-large``) where ``ranks``, by path, are higher than the rank the weight can have."""
    bases = {path: view(model.get_submodule(path)) for path in ranks}
    most = {path: min(base.in_features, base.out_features) for path, base in bases.items()}
    wrong = [path for path, rank in ranks.items() if rank > most[path]]
    if wrong:
        path = min(wrong, key=most.__getitem__)
        raise UserError(
            f"the rank is higher than that of the weight of {path} ({len(wrong)} of {len(ranks)} layers)",
            got=ranks[path],
            allowed=f"1 to {most[path]}",
            hint=hint,
            code="rank-too-large",
        )


def insert(model: nn.Module, paths: Iterable[str], make: Callable[[nn.Module], Layer]) -> dict[str, Layer]:
    """Freeze all of ``model`` and replace the linear at each path by ``make(linear)``.

    Raises ``UserError`` ``tied-target`` for a weight that is also the embedding.
    """
    modules = dict(model.named_modules())
    chosen = {path: modules[path] for path in paths}
    _refuse_tied(modules, chosen)
    model.requires_grad_(False)
    layers = {path: make(module) for path, module in chosen.items()}
    for path, layer in layers.items():
        layer.train(layer.base_layer.training)
        place(model, path, layer)
    return layers


def merged_base(layer: Adapted) -> nn.Module:
    """The layer's base with ``delta()`` added to its weight and, where the layer has it, ``delta_bias()`` to its bias.

    A quantized base stays as it is: the sum is in a dense copy of it.
    """
    quantized = isinstance(layer.base_layer, QuantizedLinear)
    merged = dense_linear(layer.base_layer) if quantized else layer.base_layer
    base = view(merged)
    base.add_(layer.delta())  # type: ignore[operator]
    change = layer.delta_bias() if hasattr(layer, "delta_bias") else None  # type: ignore[operator]
    if change is not None:
        assert base.bias is not None
        with torch.no_grad():
            base.bias.copy_(base.bias.to(change.dtype) + change)
    return merged


def place(model: nn.Module, path: str, module: nn.Module) -> None:
    """Set the module at ``path``."""
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)


@contextmanager
def disabled(layers: Iterable[Adapted]) -> Iterator[None]:
    """Within it the layers are their bases."""
    layers = list(layers)
    before = [layer.enabled for layer in layers]
    for layer in layers:
        layer.enabled = False
    try:
        yield
    finally:
        for layer, enabled in zip(layers, before, strict=True):
            layer.enabled = enabled


def _refuse_tied(modules: Mapping[str, nn.Module], chosen: Mapping[str, nn.Module]) -> None:
    embeddings = {id(module.weight): name for name, module in modules.items() if isinstance(module, nn.Embedding)}
    for path, module in chosen.items():
        if id(module.weight) in embeddings:
            raise UserError(
                f"{path} shares its weight with {embeddings[id(module.weight)]}, so it cannot be adapted alone",
                hint=f"Leave {path} out of the targets.",
                code="tied-target",
            )
