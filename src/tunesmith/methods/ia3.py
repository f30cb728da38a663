"""(IA)³: learned vectors that scale keys, values and the MLP's inner activations (Liu et al. 2022, arXiv:2205.05638).

    keys and values    y = l ∘ (x Wᵀ + b)        merged: W ← diag(l) W, b ← l ∘ b        (section 3.3)
    feedforward        y = (x ∘ l) Wᵀ + b        merged: W ← W diag(l); x is the MLP's inner activation

``l`` starts at one, so step 0 is the base, bit for bit. Where a family fuses queries, keys and values into one linear
(GPT-2, GPT-NeoX, Phi-3) all of its output is scaled, queries too, as PEFT does. The trap: the bias of a scaled output
is scaled with it.

Shape legend: ``l [out, 1]`` where it scales the output, ``[1, in]`` where it scales the input (PEFT's shapes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import nn

from tunesmith.methods.attachment import AttachedLayers, InPlace, base_name, task_type
from tunesmith.methods.folder import PREFIX, read_adapter
from tunesmith.methods.insert import Adapted, insert, refuse_adapted
from tunesmith.models.layers import anatomy, refuse_experts, resolve_targets, shortest_endings
from tunesmith.recipe.base import PartConfig
from tunesmith.recipe.load import validated

KEYS_VALUES = ("k_proj", "v_proj", "key", "value", "k", "v", "k_lin", "v_lin", "qkv_proj", "c_attn", "query_key_value")
"""Names of linears of attention that make keys or values, or queries, keys and values fused."""
ENDING = ".ia3_l"


class Ia3(PartConfig):
    """Trains vectors that scale keys, values and the MLP's inner activations: a few numbers a layer."""

    NAME: ClassVar[str] = "ia3"
    paper: ClassVar[str] = "https://arxiv.org/abs/2205.05638"
    use: ClassVar[str] = (
        "The fewest parameters that still help, for small changes of behaviour and many tasks side by side."
    )
    usual_rate: ClassVar[float] = 5e-3
    PEFT_TYPE: ClassVar[str] = "IA3"

    targets: Literal["auto"] | list[str] = "auto"
    """Scaled layers: `auto` (keys, values and the MLP's last linear) or a list of names (`k_proj`), paths, patterns."""
    feedforward: Literal["auto"] | list[str] = "auto"
    """Which of them scale their input rather than their output: `auto` (the MLP's last linear) or a list."""

    @classmethod
    def stored(cls, folder: Path, _config: Mapping[str, Any]) -> Self:
        """The method that wrote ``folder``; which layers it scales, and how, is read from the tensors."""
        vectors = {
            name.removeprefix(PREFIX).removesuffix(ENDING): vector
            for name, vector in read_adapter(folder)[1].items()
            if name.endswith(ENDING)
        }
        inputs = [path for path, vector in vectors.items() if vector.shape[0] == 1]
        return validated(cls, {"targets": list(vectors), "feedforward": inputs}, str(folder))

    def check_model(self, model: nn.Module) -> tuple[list[str], set[str]]:
        """Paths of the scaled layers, and those of them that scale their input; a ``UserError`` where one does not fit.

        Reads no weights.
        """
        refuse_adapted(model)
        paths = _auto(model) if self.targets == "auto" else resolve_targets(model, self.targets)
        if self.feedforward == "auto":
            inputs = set(anatomy(model).mlp_out)
        else:
            inputs = set(resolve_targets(model, self.feedforward)) if self.feedforward else set()
        return paths, inputs & set(paths)

    def attach(self, model: nn.Module, *, heads: Sequence[str] = ()) -> AttachedIa3:
        """Freeze ``model`` and scale its target layers.

        Raises ``UserError``: ``unknown-target``, ``unknown-family``, ``fused-experts``, ``already-attached``,
        ``tied-target``.
        """
        paths, inputs = self.check_model(model)
        endings = (shortest_endings(model, sorted(set(paths) - inputs)), shortest_endings(model, sorted(inputs)))
        reading = {id(model.get_submodule(path)) for path in inputs}
        layers = insert(model, paths, lambda base: (ScaledInput if id(base) in reading else ScaledOutput)(base))
        return AttachedIa3(model, layers, heads=heads, endings=endings)


class ScaledOutput(Adapted):
    """``l ∘ (x Wᵀ + b)``."""

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        self.ia3_l = nn.Parameter(torch.ones(self.out_features, 1, device=self.base.device, dtype=self.base.dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., in] -> [..., out]``."""
        y: torch.Tensor = self.base_layer(x)
        return y * self.ia3_l.squeeze(1) if self.enabled else y

    def delta(self) -> torch.Tensor:
        """``diag(l) W - W``, ``[out, in]``, in float32 (float64 for a float64 base)."""
        return _change(self.base.dense(), self.ia3_l)

    def delta_bias(self) -> torch.Tensor | None:
        """``l ∘ b - b``, ``[out]``; None without a bias."""
        return None if self.bias is None else _change(self.bias.detach(), self.ia3_l.squeeze(1))


class ScaledInput(Adapted):
    """``(x ∘ l) Wᵀ + b``."""

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        self.ia3_l = nn.Parameter(torch.ones(1, self.in_features, device=self.base.device, dtype=self.base.dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., in] -> [..., out]``."""
        y: torch.Tensor = self.base_layer(x * self.ia3_l.squeeze(0) if self.enabled else x)
        return y

    def delta(self) -> torch.Tensor:
        """``W diag(l) - W``, ``[out, in]``, in float32 (float64 for a float64 base)."""
        return _change(self.base.dense(), self.ia3_l)


class AttachedIa3(AttachedLayers):
    """(IA)³ on a model; ``endings`` are the modules, by PEFT's rule, that scale their output and their input."""

    def __init__(
        self,
        model: nn.Module,
        layers: Mapping[str, ScaledOutput | ScaledInput],
        *,
        heads: Sequence[str],
        endings: tuple[list[str], list[str]],
    ) -> None:
        vectors = {f"{PREFIX}{path}{ENDING}": layer.ia3_l for path, layer in layers.items()}
        super().__init__(model, layers, vectors, InPlace.of_modules(model, heads))
        self.heads, self.endings = list(heads), endings

    def file_config(self) -> dict[str, Any]:
        """PEFT's config of this adapter."""
        outputs, inputs = self.endings
        return {
            "peft_type": Ia3.PEFT_TYPE,
            "task_type": task_type(self.model),
            "base_model_name_or_path": base_name(self.model),
            "inference_mode": True,
            "target_modules": sorted({*outputs, *inputs}),
            "feedforward_modules": inputs,
            "modules_to_save": self.heads or None,
            "fan_in_fan_out": all(layer.base.transposed for layer in self.layers.values()),
            "init_ia3_weights": True,
        }


def _auto(model: nn.Module) -> list[str]:
    found = anatomy(model)
    refuse_experts(found, hint="Name the layers to scale, for example targets: [k_proj, v_proj] with feedforward: [].")
    return [*(path for path in found.attention if path.rpartition(".")[2] in KEYS_VALUES), *found.mlp_out]


def _change(weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """``scale ∘ weight - weight``, subtracted before the product is rounded."""
    exact = torch.promote_types(weight.dtype, torch.float32)
    return weight.to(exact) * (scale.detach().to(exact) - 1)
