"""Bottleneck adapters: a small network beside a frozen sublayer, with a residual around it.

    z = s · (f(x Dᵀ + d) Uᵀ + u)            f an activation, s a scale

    houlsby    y ← y + z(y)   after attention and after the MLP (Houlsby et al. 2019, arXiv:1902.00751, fig. 2)
    pfeiffer   y ← y + z(y)   after the MLP only (Pfeiffer et al. 2021, arXiv:2005.00247)
    parallel   y ← y + z(x)   beside the MLP, from its input (He et al. 2022, arXiv:2110.04366, table 1)

``y`` is what the sublayer's last linear gives, before the model's own dropout, residual and norm. ``U`` and ``u`` start
at zero (``D`` as in ``lora``), so step 0 is the base, bit for bit. No weight of the base computes the same: an adapter
cannot be merged.

The layers are in ``adapter_layers``.

Shape legend: ``w`` width, ``m`` bottleneck; ``D [m, w]``, ``U [w, m]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field
from torch import nn

from tunesmith.contracts.method import Group
from tunesmith.errors import UserError
from tunesmith.methods.adapter_layers import AdapterLayer, put_in
from tunesmith.methods.attachment import AttachedLayers, HeadRate, InPlace, base_name, task_type
from tunesmith.methods.folder import PREFIX
from tunesmith.methods.insert import Adapted, refuse_adapted
from tunesmith.models.layers import anatomy, refuse_experts, resolve_targets
from tunesmith.recipe.base import PartConfig
from tunesmith.recipe.load import validated


class Adapter(PartConfig):
    """Trains small networks inserted after the sublayers of a frozen model."""

    NAME: ClassVar[str] = "adapter"
    paper: ClassVar[str] = "https://arxiv.org/abs/1902.00751"
    use: ClassVar[str] = "Several tasks on one base, to be combined by fusion later."
    usual_rate: ClassVar[float] = 5e-4
    PEFT_TYPE: ClassVar[str] = "ADAPTER"

    kind: Literal["houlsby", "pfeiffer", "parallel"] = "pfeiffer"
    """Where they are: after attention and MLP, after the MLP, or beside the MLP."""
    reduction: Annotated[int, Field(gt=0)] = 16
    """The bottleneck is this many times narrower than the model."""
    size: Annotated[int, Field(gt=0)] | None = None
    """Width of the bottleneck, in place of `reduction`."""
    activation: Literal["relu", "gelu", "silu", "tanh"] = "relu"
    """The function inside."""
    scale: Annotated[float, Field(gt=0.0)] | None = None
    """Factor of what the adapter adds; by default 1, and 4 for `parallel` (as in its paper)."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of the bottleneck that is dropped while training."""
    head_rate: HeadRate = 1.0
    """What multiplies the learning rate for new heads (a classifier)."""
    targets: Literal["auto"] | list[str] = "auto"
    """Linear layers that get an adapter after them, for a family that is not known by name."""

    @property
    def factor(self) -> float:
        """``s``."""
        return self.scale or (4.0 if self.kind == "parallel" else 1.0)

    @classmethod
    def stored(cls, folder: Path, config: Mapping[str, Any]) -> Self:
        """The method that wrote ``config`` into ``folder``."""
        return validated(cls, {name: config[name] for name in cls.model_fields if name in config}, str(folder))

    def attach(self, model: nn.Module, *, heads: Sequence[str] = ()) -> AttachedAdapter:
        """Freeze ``model`` and put the adapters in; ``D`` is drawn from torch's global generator.

        Raises ``UserError``: ``unknown-target``, ``unknown-family``, ``fused-experts``, ``already-attached``,
        ``tied-target``.
        """
        layers = put_in(model, self.check_model(model), lambda base: AdapterLayer(base, self))
        return AttachedAdapter(model, self, layers, heads=heads)

    def check_model(self, model: nn.Module) -> dict[str, str | None]:
        """The ``places`` of a model without an adapter; a ``UserError`` where targets do not fit. Reads no weights."""
        refuse_adapted(model)
        return self.places(model)

    def places(self, model: nn.Module) -> dict[str, str | None]:
        """Path of every linear that gets an adapter -> path of the linear whose input the adapter reads, or None."""
        if self.targets != "auto":
            if self.kind == "parallel":
                raise UserError(
                    "an adapter beside the MLP needs both ends of it, which a list of targets does not say",
                    got="kind: parallel with targets",
                    allowed="kind: houlsby or pfeiffer with targets",
                    code="parallel-targets",
                )
            return dict.fromkeys(resolve_targets(model, self.targets))
        found = anatomy(model)
        refuse_experts(found, hint="Name layers that get an adapter after them, for example targets: [o_proj].")
        if self.kind == "parallel":
            return dict(zip(found.mlp_out, found.mlp_in, strict=True))
        outs = found.mlp_out if self.kind == "pfeiffer" else (*found.attention_out, *found.mlp_out)
        return dict.fromkeys(outs)


class AttachedAdapter(AttachedLayers):
    """Bottleneck adapters on a model."""

    AGREE = ("kind", "activation", "scale")

    def __init__(
        self, model: nn.Module, config: Adapter, layers: Mapping[str, Adapted], *, heads: Sequence[str]
    ) -> None:
        named = {
            f"{PREFIX}{path}.adapter.{name}": parameter
            for path, layer in layers.items()
            if isinstance(layer, AdapterLayer)
            for name, parameter in layer.adapter.stored().items()
        }
        whole = InPlace.of_modules(model, heads).parameters
        super().__init__(model, layers, named, InPlace(whole, heads=heads, head_rate=config.head_rate))
        self.config, self.heads = config, list(heads)

    def groups(self) -> list[Group]:
        """Matrices; apart from them vectors, and what is trained of the base, without weight decay."""
        matrices = {name: parameter for name, parameter in self.parameters.items() if parameter.ndim > 1}
        vectors = {name: parameter for name, parameter in self.parameters.items() if parameter.ndim <= 1}
        return [Group(matrices), Group(vectors, decay=False), *self.in_place.groups()]

    def file_config(self) -> dict[str, Any]:
        """The config of this adapter, and who made it."""
        return {
            "peft_type": Adapter.PEFT_TYPE,
            "task_type": task_type(self.model),
            "base_model_name_or_path": base_name(self.model),
            "inference_mode": True,
            **self.config.model_dump(exclude={"head_rate"}),
            "scale": self.config.factor,
            "modules_to_save": self.heads or None,
        }
