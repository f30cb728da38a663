"""LoRA: a frozen weight plus a trained product of two thin ones (Hu et al. 2021, arXiv:2106.09685, eq. 3).

    y = x Wᵀ + b + s · x Aᵀ Bᵀ        s = alpha / rank, or alpha / √rank (rsLoRA, Kalajdzievski 2023, arXiv:2312.03732)

Its kin are options. LoRA+ (Hayou et al. 2024, arXiv:2402.12354) gives ``B`` a learning rate λ = ``b_rate`` times that
of ``A``. DoRA (Liu et al. 2024, arXiv:2402.09353) trains the length of each of the weight's rows apart: ``lora_dora``.
PiSSA, LoftQ and the other starts are in ``lora_start``; what a model carries afterwards is ``lora_attached``.

Shape legend: ``A [rank, in]``, ``B [out, rank]``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field
from torch import nn

from tunesmith.methods.attachment import HeadRate
from tunesmith.methods.insert import insert, refuse_adapted, refuse_rank
from tunesmith.methods.lora_attached import AttachedLora
from tunesmith.methods.lora_choice import check_patterns, in_layers, matched, resolve_modules
from tunesmith.methods.lora_dora import DoraLinear
from tunesmith.methods.lora_layer import LoraLinear
from tunesmith.methods.lora_start import check_start
from tunesmith.models.layers import resolve_targets, shortest_endings
from tunesmith.recipe.base import PartConfig

Positive = Annotated[float, Field(gt=0.0)]


class Lora(PartConfig):
    """Trains a low-rank update of chosen linear layers; the base stays as it is."""

    NAME: ClassVar[str] = "lora"
    paper: ClassVar[str] = "https://arxiv.org/abs/2106.09685"
    use: ClassVar[str] = (
        "The first choice for most work: close to full fine-tuning at a hundredth of its parameters, and it merges."
    )
    usual_rate: ClassVar[float] = 2e-4

    rank: Annotated[int, Field(gt=0)] = 16
    """Rank of the update: its inner width."""
    alpha: Positive = 32.0
    """Numerator of the scaling `alpha / rank`."""
    targets: Literal["all-linear", "attention", "mlp"] | list[str] = "all-linear"
    """Adapted layers: every linear of the blocks, those of attention or of the MLP, or a list of names (`q_proj`),
    paths and patterns (`model.layers.[01].*`)."""
    layers: list[Annotated[int, Field(ge=0)]] | None = None
    """Indices of the blocks whose targets are adapted; every block without it."""
    rank_pattern: Mapping[str, Annotated[int, Field(gt=0)]] = {}
    """Other ranks for some layers: regular expression for the end of a path -> rank; the first that fits counts."""
    alpha_pattern: Mapping[str, Positive] = {}
    """Other alphas for some layers, in the same way."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of inputs of the update that are dropped while training."""
    rslora: bool = False
    """Scale by `alpha / sqrt(rank)`, which keeps large ranks stable."""
    dora: bool = False
    """DoRA: train the length of each of the weight's rows apart from its direction."""
    b_rate: Positive = 1.0
    """LoRA+: learning rate of `B` as a multiple of that of `A`; the paper advises 16 with a smaller rate for `A`."""
    init: Literal["kaiming", "gaussian", "orthogonal", "pissa", "pissa-fast", "loftq"] = "kaiming"
    """Start of `A` and `B`: random with `B` zero (`kaiming`, `gaussian`), random and orthogonal to each other, the
    weight's principal part (`pissa`; `pissa-fast` estimates it), or what quantizing the weight loses (`loftq`)."""
    loftq_kind: str = "nf4"
    """Weight format that `init: loftq` quantizes the adapted layers to; leave `model.quantize` at `none` with it."""
    bias: Literal["none", "all", "lora_only"] = "none"
    """Biases of the base that are trained as well: none, all, or those of adapted layers."""
    head_rate: HeadRate = 1.0
    """What multiplies the learning rate for new heads (a classifier). Where a base's pooled outputs are small, as those
    of a pooler that was never used, about 10 is good."""
    modules_to_save: list[str] = []
    """Further modules that are trained and stored whole, such as embeddings and head: names or ends of paths."""

    @property
    def scaling(self) -> float:
        """The factor ``s`` of the update."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def at(self, path: str) -> Self:
        """This config with the rank and the alpha of the layer at ``path``."""
        return self.model_copy(
            update={
                "rank": matched(self.rank_pattern, path, self.rank),
                "alpha": matched(self.alpha_pattern, path, self.alpha),
            }
        )

    def attach(self, model: nn.Module, *, heads: Sequence[str] = ()) -> AttachedLora:
        """Freeze ``model`` and adapt its target layers in place; ``A`` is drawn from torch's global generator.

        Raises ``UserError``: ``unknown-target``, ``unknown-family``, ``already-attached``, ``tied-target``,
        ``unknown-layer``, ``unknown-pattern``, ``unknown-module``, ``saved-and-adapted``, ``tied-module``,
        ``rank-too-large``, ``already-quantized``.
        """
        self.check_model(model)
        return self.attach_stored(model, heads=heads)

    def check_model(self, model: nn.Module) -> None:
        """A ``UserError`` where targets, layers, patterns, ranks or modules do not fit; reads no weights."""
        paths = self._paths(model)
        ranks = {path: self.at(path).rank for path in paths}
        refuse_rank(model, ranks, hint="Lower method.rank, or give such layers less by method.rank_pattern.")
        resolve_modules(model, self.modules_to_save, (), paths)

    def attach_stored(self, model: nn.Module, *, heads: Sequence[str] = ()) -> AttachedLora:
        """The same for an adapter that exists already: of any rank."""
        paths = self._paths(model)
        kept = resolve_modules(model, self.modules_to_save, heads, paths)
        configs = {id(model.get_submodule(path)): self.at(path) for path in paths}
        for path in paths:
            check_start(path, model.get_submodule(path), self.at(path))
        endings = shortest_endings(model, paths)
        layer = DoraLinear if self.dora else LoraLinear
        layers = insert(model, paths, lambda base: layer(base, configs[id(base)]))
        return AttachedLora(model, self, layers, kept=kept, heads=heads, endings=endings)

    def _paths(self, model: nn.Module) -> list[str]:
        """Paths of the adapted layers, which the patterns fit."""
        refuse_adapted(model)
        paths = in_layers(resolve_targets(model, self.targets), self.layers)
        check_patterns(self.rank_pattern, paths, "rank_pattern")
        check_patterns(self.alpha_pattern, paths, "alpha_pattern")
        return paths
