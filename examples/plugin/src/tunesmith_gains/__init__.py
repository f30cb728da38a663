"""Gains: one trained factor on the output of each adapted linear layer, ``y = g · x Wᵀ + b``, starting at 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from tunesmith.methods.attachment import AttachedLayers, InPlace, base_name, task_type
from tunesmith.methods.folder import PREFIX
from tunesmith.methods.insert import Adapted, insert, refuse_adapted
from tunesmith.models.layers import resolve_targets
from tunesmith.recipe.base import PartConfig


class Gains(PartConfig):
    """Trains one factor for each adapted linear layer."""

    NAME: ClassVar[str] = "gains"
    paper: ClassVar[str] = ""

    targets: str | list[str] = "all-linear"
    """Adapted layers, as for `lora`."""

    def attach(self, model: nn.Module, *, heads: Sequence[str] = ()) -> AttachedGains:
        """Freeze ``model`` and put a gain on its target layers."""
        refuse_adapted(model)
        layers = insert(model, resolve_targets(model, self.targets), GainLinear)
        return AttachedGains(model, layers, heads)


class GainLinear(Adapted):
    """A linear layer with a factor on its output (not on its bias)."""

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        self.gain = nn.Parameter(torch.ones(1, device=self.base.device, dtype=self.base.dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., in] -> [..., out]``."""
        y: torch.Tensor = self.base_layer(x)
        if not self.enabled:
            return y
        return y * self.gain if self.bias is None else (y - self.bias) * self.gain + self.bias

    def delta(self) -> torch.Tensor:
        """``(g - 1) W``, ``[out, in]``, in float32."""
        return (self.gain.detach().float() - 1.0) * self.base.dense().float()


class AttachedGains(AttachedLayers):
    """Gains on a model."""

    identity = False  # (y - b) · 1 + b rounds

    def __init__(self, model: nn.Module, layers: Mapping[str, GainLinear], heads: Sequence[str]) -> None:
        gains = {f"{PREFIX}{path}.gain": layer.gain for path, layer in layers.items()}
        super().__init__(model, layers, gains, InPlace.of_modules(model, heads))

    def file_config(self) -> dict[str, Any]:
        """What ``adapter_config.json`` holds."""
        return {
            "peft_type": "GAINS",
            "task_type": task_type(self.model),
            "base_model_name_or_path": base_name(self.model),
            "target_modules": sorted(self.layers),
        }
