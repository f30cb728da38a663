"""LoRA on a model: its parameters in groups, and its folder, which PEFT reads.

A PiSSA is written as the plain LoRA that it is against the untouched base, of twice the rank with the same ``s``:
``B A - B₀ A₀ = [B, -B₀] [A; A₀]``. Reading it back gives ``A₀`` and ``B₀`` too.

The trap: PEFT makes a copy of each module in ``modules_to_save``, so one weight under two names becomes two there. Here
it stays one: all its names are written, and a file in which they differ is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tunesmith.contracts.method import Group
from tunesmith.errors import UserError
from tunesmith.methods.attachment import AttachedLayers, InPlace, base_name, task_type
from tunesmith.methods.folder import PREFIX, write_adapter
from tunesmith.methods.lora_dora import DoraLinear
from tunesmith.methods.lora_layer import LoraLinear

if TYPE_CHECKING:
    from tunesmith.methods.lora import Lora


class AttachedLora(AttachedLayers):
    """LoRA on a model."""

    AGREE = ("r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern")

    def __init__(
        self,
        model: nn.Module,
        config: Lora,
        layers: Mapping[str, LoraLinear],
        *,
        kept: Sequence[str],
        heads: Sequence[str],
        endings: list[str],
    ) -> None:
        """``kept`` are paths of modules trained whole (``heads`` those that are new), ``endings`` what selects the
        adapted layers in PEFT."""
        parameters: dict[str, nn.Parameter] = {}
        for path, layer in layers.items():
            parameters[_name(path, "A")], parameters[_name(path, "B")] = layer.lora_A, layer.lora_B
            if isinstance(layer, DoraLinear):
                parameters[_magnitude(path)] = layer.lora_magnitude_vector.weight
        beside = {**InPlace.of_modules(model, kept).parameters, **_biases(model, config.bias, layers)}
        names = {id(parameter): name for name, parameter in reversed(beside.items())}
        once = {name: beside[name] for name in reversed(names.values())}
        super().__init__(model, layers, parameters, InPlace(once, heads=heads, head_rate=config.head_rate))
        self.config, self.kept, self.endings = config, list(kept), endings
        self.identity = config.init != "loftq"

    def groups(self) -> list[Group]:
        """``A``, ``B`` at their own rate (LoRA+), magnitudes and what is trained in place without weight decay."""
        rate = self.config.b_rate
        thin = {name: value for name, value in self.parameters.items() if not name.endswith("_vector")}
        fast = {name: value for name, value in thin.items() if rate != 1.0 and name.endswith("lora_B.weight")}
        found = [
            Group({name: value for name, value in thin.items() if name not in fast}),
            Group(fast, rate=rate),
            Group({name: value for name, value in self.parameters.items() if name not in thin}, decay=False),
            *self.in_place.groups(),
        ]
        return [group for group in found if group.parameters]

    def state(self) -> dict[str, torch.Tensor]:
        """Where each PiSSA started from."""
        layers = self._started().items()
        return {f"{path}.{key}": value for path, layer in layers for key, value in layer.origin.named_buffers()}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take that back."""
        for name, value in self.state().items():
            value.copy_(state[name])

    def save(self, folder: Path, values: Mapping[str, torch.Tensor]) -> None:
        """Write an adapter folder in PEFT's form."""
        stored = {name: values[name] for name in (*self.parameters, *self.in_place.parameters)}
        for path, layer in self._started().items():
            a, b = _name(path, "A"), _name(path, "B")
            stored[a] = torch.cat([values[a], layer.origin.A.to(values[a])])
            stored[b] = torch.cat([values[b], -layer.origin.B.to(values[b])], 1)
        whole = tuple(f"{PREFIX}{path}." for path in self.kept)
        for other, name in self._aliases().items():
            if other.startswith(whole):
                stored[other] = values[name]
        write_adapter(folder, self.file_config(), stored)

    def receive(self, tensors: Mapping[str, torch.Tensor], where: str) -> None:
        """Copy ``tensors``, by stored names, onto the parameters: all of them exactly, or a ``UserError``."""
        self._refuse_untied(tensors, where)
        found, origins = dict(tensors), {}
        for path, layer in self._started().items():
            a, b, rank = _name(path, "A"), _name(path, "B"), len(layer.lora_A)
            if a in found and b in found and (len(found[a]), found[b].shape[-1]) == (2 * rank, 2 * rank):
                origins[path] = found[a][rank:], -found[b][:, rank:]
                found[a], found[b] = found[a][:rank], found[b][:, :rank]
        super().receive(found, where)
        for path, (A, B) in origins.items():
            self._started()[path].origin.A.copy_(A)
            self._started()[path].origin.B.copy_(B)

    def file_config(self) -> dict[str, Any]:
        """PEFT's config of this adapter."""
        config = self.config
        # alpha / r, or alpha / √r, is to stay when r doubles
        times = 2 if self._started() else 1
        alphas = math.sqrt(times) if config.rslora else times
        return {
            "peft_type": "LORA",
            "task_type": task_type(self.model),
            "base_model_name_or_path": base_name(self.model),
            "inference_mode": True,
            "r": config.rank * times,
            "lora_alpha": _number(config.alpha * alphas),
            "rank_pattern": {name: rank * times for name, rank in config.rank_pattern.items()},
            "alpha_pattern": {name: _number(alpha * alphas) for name, alpha in config.alpha_pattern.items()},
            "lora_dropout": config.dropout,
            "use_rslora": config.rslora,
            "use_dora": config.dora,
            "bias": config.bias,
            "target_modules": self.endings,
            "modules_to_save": self.kept or None,
            "fan_in_fan_out": all(layer.base.transposed for layer in self.layers.values()),
            "init_lora_weights": True,
        }

    def _started(self) -> dict[str, Any]:
        """Layers with an origin."""
        return {path: layer for path, layer in self.layers.items() if getattr(layer, "origin", None) is not None}

    def _refuse_untied(self, tensors: Mapping[str, torch.Tensor], where: str) -> None:
        for other, name in self._aliases().items():
            if other in tensors and name in tensors and not torch.equal(tensors[other], tensors[name]):
                raise UserError(
                    f"{where} holds two values for a weight that this model has once",
                    got=f"{other.removeprefix(PREFIX)} differs from {name.removeprefix(PREFIX)}",
                    hint="It was trained on a model whose weights are not tied; untie them in the base first.",
                    code="adapter-mismatch",
                )


def _name(path: str, matrix: str) -> str:
    return f"{PREFIX}{path}.lora_{matrix}.weight"


def _magnitude(path: str) -> str:
    return f"{PREFIX}{path}.lora_magnitude_vector"


def _number(alpha: float) -> int | float:
    return int(alpha) if float(alpha).is_integer() else alpha


def _biases(model: nn.Module, which: str, layers: Mapping[str, LoraLinear]) -> dict[str, nn.Parameter]:
    if which == "all":
        return {f"{PREFIX}{name}": bias for name, bias in model.named_parameters() if "bias" in name.split(".")[-1]}
    if which == "lora_only":
        found = {f"{PREFIX}{path}.base_layer.bias": layer.bias for path, layer in layers.items()}
        return {name: bias for name, bias in found.items() if bias is not None}
    return {}
