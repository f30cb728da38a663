"""BitFit: only bias terms are trained (Ben Zaken et al. 2022, arXiv:2106.10199).

The base's own biases are trained in place. Most decoders have none; with ``add`` every target without a bias gets one,
    y = x Wᵀ + b,  b = 0 at first,
so step 0 is the base, bit for bit. The stored folder holds the biases and nothing else. Merged, an added bias must have
a place in the architecture: Llama's config has ``attention_bias`` and ``mlp_bias``, most others have one or none.

Shape legend: ``b [out]``.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import nn

from tunesmith.errors import UserError
from tunesmith.methods.attachment import AttachedLayers, InPlace, base_name, task_type
from tunesmith.methods.folder import PREFIX
from tunesmith.methods.insert import Adapted, insert, place, refuse_adapted
from tunesmith.models.layers import resolve_targets, shortest_endings
from tunesmith.models.linears import view
from tunesmith.recipe.base import PartConfig
from tunesmith.recipe.load import validated

SWITCHES = (("attention_bias",), ("mlp_bias",), ("attention_bias", "mlp_bias"))
"""Settings of a config that give linears a bias, from the least to the most."""


class Bitfit(PartConfig):
    """Trains bias terms only: about a thousandth of the parameters where a model has biases."""

    NAME: ClassVar[str] = "bitfit"
    paper: ClassVar[str] = "https://arxiv.org/abs/2106.10199"
    use: ClassVar[str] = "Encoders with biases and little data: about a thousandth of the parameters."
    usual_rate: ClassVar[float] = 1e-3
    PEFT_TYPE: ClassVar[str] = "BITFIT"

    add: bool = False
    """Whether targets without a bias get one that starts at zero."""
    targets: Literal["all-linear", "attention", "mlp"] | list[str] = "all-linear"
    """Layers that `add` looks at: every linear of the blocks, those of attention or of the MLP, or a list of names."""

    @classmethod
    def stored(cls, folder: Path, config: Mapping[str, Any]) -> Self:
        """The method that wrote ``config`` into ``folder``."""
        added = list(config.get("target_modules") or ())
        return validated(cls, {"add": True, "targets": added} if added else {}, str(folder))

    def attach(self, model: nn.Module, *, heads: Sequence[str] = ()) -> AttachedBitfit:
        """Freeze all of ``model`` but its biases.

        Raises ``UserError``: ``no-biases``, ``unknown-target``, ``unknown-family``, ``already-attached``.
        """
        refuse_adapted(model)
        own = {f"{PREFIX}{name}": bias for name, bias in model.named_parameters() if name.rpartition(".")[2] == "bias"}
        targets = resolve_targets(model, self.targets) if self.add else []
        bare = [path for path in targets if view(model.get_submodule(path)).bias is None]
        if not own and not bare:
            raise UserError(
                "this model has no bias terms, so bitfit would train nothing",
                hint="Set add: true to give linear layers biases that start at zero, or choose the method norms.",
                code="no-biases",
            )
        endings = shortest_endings(model, bare)
        layers = insert(model, bare, AddedBias)
        own |= InPlace.of_modules(model, heads).parameters
        return AttachedBitfit(model, layers, InPlace(own), heads=heads, endings=endings)


class AddedBias(Adapted):
    """A linear layer without a bias, plus one."""

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        self.added = nn.Parameter(torch.zeros(self.out_features, device=self.base.device, dtype=self.base.dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., in] -> [..., out]``."""
        y: torch.Tensor = self.base_layer(x)
        return y + self.added if self.enabled else y


class AttachedBitfit(AttachedLayers):
    """Biases of a model, its own and those that were added to ``layers``."""

    def __init__(
        self,
        model: nn.Module,
        layers: Mapping[str, AddedBias],
        in_place: InPlace,
        *,
        heads: Sequence[str],
        endings: list[str],
    ) -> None:
        added = {f"{PREFIX}{path}.bias": layer.added for path, layer in layers.items()}
        super().__init__(model, layers, added, in_place)
        self.biases = dict(layers)
        self.heads, self.endings = list(heads), endings

    def file_config(self) -> dict[str, Any]:
        """A config in PEFT's form; ``target_modules`` are the layers that were given a bias."""
        return {
            "peft_type": Bitfit.PEFT_TYPE,
            "task_type": task_type(self.model),
            "base_model_name_or_path": base_name(self.model),
            "inference_mode": True,
            "target_modules": self.endings,
            "modules_to_save": self.heads or None,
        }

    def merge(self) -> nn.Module:
        """The plain model with its trained biases, and with the config that gives added ones a place.

        Raises ``UserError`` ``cannot-merge`` where no setting of the architecture's config does.
        """
        if not self.biases:
            return self.model
        config, places = self._roomy()
        for path in places:
            layer = self.model.get_submodule(path)
            base: Any = layer.base_layer if isinstance(layer, AddedBias) else layer
            start = layer.added.detach() if isinstance(layer, AddedBias) else base.weight.new_zeros(base.out_features)
            base.bias = nn.Parameter(start.clone(), requires_grad=False)
            place(self.model, path, base)
        for switch in SWITCHES[-1]:
            if hasattr(config, switch):
                setattr(self.model.config, switch, getattr(config, switch))
        return self.model

    def _roomy(self) -> tuple[Any, list[str]]:
        """A config under which every added bias is a parameter of the plain model, and all linears it gives one."""
        model: Any = self.model
        have = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        wanted = {f"{path}.bias" for path in self.biases}
        missing = wanted
        for switches in SWITCHES:
            config = copy.deepcopy(model.config)
            for switch in switches:
                if getattr(config, switch, None) is False:
                    setattr(config, switch, True)
            with torch.device("meta"):
                names = [name for name, _ in type(model)(config).named_parameters()]
            missing = wanted - set(names)
            if not missing:
                gained = [name.removesuffix(".bias") for name in names if name.endswith(".bias") and name not in have]
                return config, gained
        raise UserError(
            f"the architecture {type(model).__name__} has no place for a bias of {min(missing).removesuffix('.bias')}",
            hint="Ship the adapter folder beside the base, or train with targets that its config gives biases.",
            code="cannot-merge",
        )
