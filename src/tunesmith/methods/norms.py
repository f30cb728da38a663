"""Training norms only: weights and biases of LayerNorm and RMSNorm, in place (Zhao et al. 2023, arXiv:2312.11420).

The stored folder is PEFT's LN_TUNING: whole copies of the norms, so off is the base bit for bit and merging is free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from torch import nn

from tunesmith.errors import UserError, did_you_mean
from tunesmith.methods.attachment import AttachedLayers, InPlace, base_name, task_type
from tunesmith.methods.folder import PREFIX, read_adapter
from tunesmith.methods.insert import refuse_adapted
from tunesmith.models.layers import anatomy, shortest_endings
from tunesmith.recipe.base import PartConfig
from tunesmith.recipe.load import validated

INSIDE = ".ln_tuning_layers."
"""What PEFT puts between the path of a norm and the name of its parameter."""


class Norms(PartConfig):
    """Trains the weights and biases of the model's norms only."""

    NAME: ClassVar[str] = "norms"
    paper: ClassVar[str] = "https://arxiv.org/abs/2312.11420"
    use: ClassVar[str] = "A small change of tone or domain, with almost nothing to store."
    usual_rate: ClassVar[float] = 1e-3
    PEFT_TYPE: ClassVar[str] = "LN_TUNING"

    targets: Literal["all", "blocks"] | list[str] = "all"
    """Trained norms: all, those in the blocks (without the final norm and that of embeddings), or a list of names
    (`input_layernorm`) and paths."""

    @classmethod
    def stored(cls, folder: Path, _config: Mapping[str, Any]) -> Self:
        """The method that wrote ``folder``; which norms it trained is read from the tensors."""
        paths = {name.partition(INSIDE)[0].removeprefix(PREFIX) for name in read_adapter(folder)[1] if INSIDE in name}
        return validated(cls, {"targets": sorted(paths)}, str(folder))

    def attach(self, model: nn.Module, *, heads: Sequence[str] = ()) -> AttachedNorms:
        """Freeze all of ``model`` but its norms.

        Raises ``UserError``: ``unknown-norm``, ``unknown-family``, ``already-attached``.
        """
        refuse_adapted(model)
        paths = [path for path in self._chosen(model) if not f"{path}.".startswith(tuple(f"{head}." for head in heads))]
        model.requires_grad_(False)
        named = {
            f"{PREFIX}{path}{INSIDE}{name}": parameter
            for path in paths
            for name, parameter in model.get_submodule(path).named_parameters()
        }
        in_place = InPlace(named | InPlace.of_modules(model, heads).parameters)
        return AttachedNorms(model, in_place, heads=heads, endings=shortest_endings(model, paths))

    def _chosen(self, model: nn.Module) -> list[str]:
        norms = [
            name
            for name, module in model.named_modules()
            if type(module).__name__.endswith("Norm") and next(module.parameters(), None) is not None
        ]
        if self.targets == "blocks":
            found = anatomy(model)
            return [path for path in norms if isinstance(found.part_of(path), int)]
        wanted = norms if self.targets == "all" else self.targets
        unknown = [name for name in wanted if not any(_is(path, name) for path in norms)]
        if unknown or not wanted:
            names = sorted({path.rpartition(".")[2] for path in norms})
            raise UserError(
                "no norm of this model has this name" if unknown else "targets is empty, so nothing would be trained",
                got=unknown or None,
                allowed=["all", "blocks", *names],
                hint=did_you_mean(unknown[0], names) if unknown else "",
                code="unknown-norm",
            )
        return [path for path in norms if any(_is(path, name) for name in wanted)]


class AttachedNorms(AttachedLayers):
    """The norms of a model."""

    def __init__(self, model: nn.Module, in_place: InPlace, *, heads: Sequence[str], endings: list[str]) -> None:
        super().__init__(model, {}, {}, in_place)
        self.heads, self.endings = list(heads), endings

    def file_config(self) -> dict[str, Any]:
        """PEFT's config of these norms."""
        return {
            "peft_type": Norms.PEFT_TYPE,
            "task_type": task_type(self.model),
            "base_model_name_or_path": base_name(self.model),
            "inference_mode": True,
            "target_modules": self.endings,
            "modules_to_save": self.heads or None,
        }


def _is(path: str, name: str) -> bool:
    return path == name or path.endswith(f".{name}")
