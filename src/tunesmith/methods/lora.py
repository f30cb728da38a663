"""LoRA: a frozen weight plus a trained product of two thin ones (Hu et al. 2021, arXiv:2106.09685).

    y = x Wᵀ + b + s · x Aᵀ Bᵀ        s = alpha / rank, or alpha / √rank (rsLoRA, Kalajdzievski 2023, arXiv:2312.03732)

``A`` starts as in the paper's code (Kaiming-uniform with a = √5, so |a| < 1/√in), ``B`` at zero: step 0 is the base,
bit for bit. The node itself is in ``lora_node``.

Shape legend: ``A [rank, in]``, ``B [out, rank]``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from tunesmith.methods.attachment import AttachedLayers, InPlace, base_name, task_type
from tunesmith.methods.folder import PREFIX
from tunesmith.methods.insert import Adapted, insert, refuse_adapted
from tunesmith.methods.lora_node import Update, composed, low_rank
from tunesmith.models.layers import resolve_targets, shortest_endings
from tunesmith.models.linears import TransposedLinear
from tunesmith.recipe.base import PartConfig


class Lora(PartConfig):
    """Trains a low-rank update of chosen linear layers; the base stays as it is."""

    NAME: ClassVar[str] = "lora"
    paper: ClassVar[str] = "https://arxiv.org/abs/2106.09685"

    rank: Annotated[int, Field(gt=0)] = 16
    """Rank of the update: its inner width."""
    alpha: Annotated[float, Field(gt=0.0)] = 32.0
    """Numerator of the scaling `alpha / rank`."""
    targets: Literal["all-linear", "attention", "mlp"] | list[str] = "all-linear"
    """Adapted layers: every linear of the blocks, those of attention or of the MLP, or a list of names (`q_proj`),
    paths and patterns (`model.layers.[01].*`)."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of inputs of the update that are dropped while training."""
    rslora: bool = False
    """Scale by `alpha / sqrt(rank)`, which keeps large ranks stable."""
    bias: Literal["none", "all", "lora_only"] = "none"
    """Biases of the base that are trained as well: none, all, or those of adapted layers."""

    @property
    def scaling(self) -> float:
        """The factor ``s`` of the update."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def attach(self, model: nn.Module, *, heads: Sequence[str] = ()) -> AttachedLora:
        """Freeze ``model`` and adapt its target layers in place; ``A`` is drawn from torch's global generator.

        Raises ``UserError``: ``unknown-target``, ``unknown-family``, ``already-attached``, ``tied-target``.
        """
        refuse_adapted(model)
        paths = resolve_targets(model, self.targets)
        endings = shortest_endings(model, paths)
        layers = insert(model, paths, lambda base: LoraLinear(base, self))
        return AttachedLora(model, self, layers, heads=heads, endings=endings)


class LoraLinear(Adapted):
    """A linear layer plus its low-rank update, in the dtype the base computes in."""

    def __init__(self, base_layer: nn.Module, config: Lora) -> None:
        super().__init__(base_layer)
        base = self.base
        start = torch.empty(config.rank, base.in_features).uniform_(-1.0, 1.0) / math.sqrt(base.in_features)
        self.lora_A = nn.Parameter(start.to(base.device, base.dtype))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, config.rank, device=base.device, dtype=base.dtype))
        self.scaling, self.dropout = config.scaling, config.dropout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., in] -> [..., out]``."""
        if not self.enabled:
            return self.base_layer(x)
        # the seed comes from the global generator, so activation checkpointing and replays draw the same mask
        seed = int(torch.randint(2**62, (), device="cpu")) if self.dropout and self.training else None
        update = Update(self.base, self.scaling, self.dropout, seed)
        if self.nested:
            return composed(x, self.lora_A, self.lora_B, update, self.base_layer)
        return low_rank(x, self.lora_A, self.lora_B, update)

    def delta(self) -> torch.Tensor:
        """``s · B A``, ``[out, in]``, computed in float32 (float64 for a float64 base)."""
        exact = torch.promote_types(self.lora_A.dtype, torch.float32)
        return (self.lora_B.detach().to(exact) @ self.lora_A.detach().to(exact)).mul_(self.scaling)


class AttachedLora(AttachedLayers):
    """LoRA on a model."""

    AGREE = ("r", "lora_alpha", "use_rslora")

    def __init__(
        self,
        model: nn.Module,
        config: Lora,
        layers: Mapping[str, LoraLinear],
        *,
        heads: Sequence[str],
        endings: list[str],
    ) -> None:
        matrices = {
            f"{PREFIX}{path}.{matrix}.weight": getattr(layer, matrix)
            for path, layer in layers.items()
            for matrix in ("lora_A", "lora_B")
        }
        kept = InPlace.of_modules(model, heads).parameters | _biases(model, config.bias, layers)
        super().__init__(model, layers, matrices, InPlace(kept))
        self.config, self.heads, self.endings = config, list(heads), endings

    def file_config(self) -> dict[str, Any]:
        """PEFT's config of this adapter."""
        alpha = self.config.alpha
        return {
            "peft_type": "LORA",
            "task_type": task_type(self.model),
            "base_model_name_or_path": base_name(self.model),
            "inference_mode": True,
            "r": self.config.rank,
            "lora_alpha": int(alpha) if alpha.is_integer() else alpha,
            "lora_dropout": self.config.dropout,
            "use_rslora": self.config.rslora,
            "bias": self.config.bias,
            "target_modules": self.endings,
            "modules_to_save": self.heads or None,
            "fan_in_fan_out": all(isinstance(layer.base, TransposedLinear) for layer in self.layers.values()),
            "init_lora_weights": True,
        }


def _biases(model: nn.Module, which: str, layers: Mapping[str, LoraLinear]) -> dict[str, nn.Parameter]:
    if which == "all":
        return {f"{PREFIX}{name}": bias for name, bias in model.named_parameters() if "bias" in name.split(".")[-1]}
    if which == "lora_only":
        found = {f"{PREFIX}{path}.base_layer.bias": layer.bias for path, layer in layers.items()}
        return {name: bias for name, bias in found.items() if bias is not None}
    return {}
