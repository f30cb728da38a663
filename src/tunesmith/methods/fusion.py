"""AdapterFusion: trained adapters side by side, frozen, and a learned attention that mixes them, layer by layer.

Pfeiffer et al. 2021 (arXiv:2005.00247, section 3.2), at every place that has adapters ``z₁ … z_N``::

    a = softmax over i of (y Qᵀ) · (zᵢ Kᵀ)          y ← y + (Σᵢ aᵢ zᵢ) Vᵀ

``y`` is the output of the sublayer, ``zᵢ`` what adapter ``i`` adds to it. ``V`` starts as the identity (1e-6 off its
diagonal) and is drawn back to it by ``regularisation · ‖I − V‖²``, both as in the paper. ``K`` starts at zero, so that
the first attention is even: **at the start the model answers with the mean of its adapters, not as the base**.

Keys and values are linear in ``zᵢ``, so ``(y Qᵀ K) · zᵢ`` and ``V`` after the sum give the same with one product each
whatever ``N`` is.

Shape legend: ``n`` rows, ``N`` adapters, ``w`` width; ``y [n, w]``, ``z [n, N, w]``, ``a [n, N]``; ``Q K V [w, w]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from tunesmith.contracts.method import Group
from tunesmith.errors import UserError
from tunesmith.methods.adapter import Adapter
from tunesmith.methods.adapter_layers import Bottleneck, SublayerEnd, put_in
from tunesmith.methods.attachment import AttachedLayers, InPlace, base_name, task_type
from tunesmith.methods.folder import PREFIX, land, write_adapter
from tunesmith.methods.fusion_sources import FUSION, Source, sources
from tunesmith.methods.insert import Adapted, refuse_adapted
from tunesmith.recipe.base import PartConfig

OFF_DIAGONAL = 1e-6


class Fusion(PartConfig):
    """Trains an attention over several trained adapters, which stay as they are.

    Starts as the mean of its adapters, not as the base.
    """

    NAME: ClassVar[str] = "fusion"
    paper: ClassVar[str] = "https://arxiv.org/abs/2005.00247"
    use: ClassVar[str] = "Several trained adapters whose tasks have something to say about a new one."
    usual_rate: ClassVar[float] = 5e-5
    PEFT_TYPE: ClassVar[str] = FUSION

    adapters: list[str] = []
    """Two or more folders of trained `adapter`s, or run folders, of one base and kind; or one folder of a `fusion`."""
    regularisation: Annotated[float, Field(ge=0.0)] = 0.01
    """Weight of the penalty that keeps the value matrices near the identity."""

    @classmethod
    def stored(cls, folder: Path, config: Mapping[str, Any]) -> Self:
        """The method that wrote ``config`` into ``folder``; its adapters are in the same folder."""
        return cls(adapters=[str(folder)], regularisation=config.get("regularisation", 0.01))

    def attach(self, model: nn.Module, *, heads: Sequence[str] = ()) -> AttachedFusion:
        """Freeze ``model``, put the trained adapters in, and an attention over them at every place they have.

        ``Q`` is drawn from torch's global generator. Raises ``UserError``: ``too-few-adapters``, ``not-an-adapter``,
        ``corrupt-adapter``, ``unsupported-adapter``, ``adapter-mismatch``, and what ``adapter`` raises.
        """
        refuse_adapted(model)
        found = sources(self.adapters)
        configs = [source.config for source in found]
        layers = put_in(model, configs[0].places(model), lambda base: FusionLayer(base, configs))
        attached = AttachedFusion(model, self, layers, sources=found, heads=heads)
        try:
            attached.land_sources(found)
        except UserError:
            attached.remove()
            raise
        return attached


class FusionLayer(SublayerEnd):
    """A linear layer with frozen adapters after it and the attention that mixes them."""

    def __init__(self, base_layer: nn.Module, configs: Sequence[Adapter]) -> None:
        super().__init__(base_layer)
        base = self.base
        like: dict[str, Any] = {"device": base.device, "dtype": base.dtype}
        width = base.out_features
        self.adapters = nn.ModuleList(Bottleneck(base, config) for config in configs).requires_grad_(False)
        self.query = nn.Parameter(torch.empty(width, width).uniform_(-1.0, 1.0).div_(width**0.5).to(**like))
        self.key = nn.Parameter(torch.zeros(width, width, **like))
        self.value = nn.Parameter(torch.full((width, width), OFF_DIAGONAL).fill_diagonal_(1.0).to(**like))
        self.watch: Callable[[torch.Tensor], None] | None = None

    def train(self, mode: bool = True) -> Self:
        """The adapters are finished: their dropout stays off."""
        super().train(mode)
        self.adapters.train(False)
        return self

    def after(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """``y + (Σᵢ aᵢ zᵢ) Vᵀ``."""
        z = torch.stack([adapter(x) for adapter in self.adapters], dim=1)
        asked = functional.linear(y, self.query) @ self.key
        exact = torch.promote_types(z.dtype, torch.float32)
        a = torch.einsum("nw,niw->ni", asked, z).softmax(-1, dtype=exact)
        if self.watch is not None:
            self.watch(a.detach())
        mixed = torch.einsum("ni,niw->nw", a.to(z.dtype), z)
        return torch.addmm(y, mixed, self.value.t())


class AttachedFusion(AttachedLayers):
    """AdapterFusion on a model."""

    AGREE = ("adapters",)
    identity = False

    def __init__(
        self,
        model: nn.Module,
        config: Fusion,
        layers: Mapping[str, Adapted],
        *,
        sources: Sequence[Source],
        heads: Sequence[str],
    ) -> None:
        self.ends = {path: layer for path, layer in layers.items() if isinstance(layer, FusionLayer)}
        matrices = {
            f"{PREFIX}{path}.fusion.{matrix}.weight": getattr(layer, matrix)
            for path, layer in self.ends.items()
            for matrix in ("query", "key", "value")
        }
        super().__init__(model, layers, matrices, InPlace.of_modules(model, heads))
        self.config, self.heads = config, list(heads)
        self.names = [source.name for source in sources]
        self.configs = [source.config for source in sources]

    def groups(self) -> list[Group]:
        """Queries and keys; apart from them what decay would draw to zero: values, and parameters of the base."""
        values = {name: value for name, value in self.parameters.items() if name.endswith(".value.weight")}
        others = {name: value for name, value in self.parameters.items() if name not in values}
        return [Group(others), Group(values | self.in_place.parameters, decay=False)]

    def frozen(self, index: int) -> dict[str, nn.Parameter]:
        """The parameters of adapter ``index`` as its own folder names them."""
        return {
            f"{PREFIX}{path}.adapter.{name}": parameter
            for path, layer in self.ends.items()
            for name, parameter in layer.adapters[index].stored().items()  # type: ignore[operator]
        }

    def land_sources(self, sources: Sequence[Source]) -> None:
        """Copy trained adapters into their places, exactly."""
        for index, source in enumerate(sources):
            land(source.tensors, self.frozen(index), {}, str(source.folder))

    def penalty(self) -> torch.Tensor | None:
        """``regularisation · Σ ‖I − V‖²`` over the layers, in float32."""
        if not self.config.regularisation:
            return None
        values = [layer.value.float() for layer in self.ends.values()]
        away = [(value - torch.eye(len(value), device=value.device)).square().sum() for value in values]
        return self.config.regularisation * torch.stack(away).sum()

    @torch.no_grad()
    def attention(self, run: Callable[[], object]) -> dict[str, dict[str, float]]:
        """Mean attention by layer and adapter over all tokens that the model reads while ``run`` runs.

        Padding counts as well: give sequences of one length, or one after the other.
        """
        seen: dict[str, list[torch.Tensor]] = {path: [] for path in self.ends}
        with self._watched(seen):
            run()
        means = {path: torch.cat(parts).double().mean(0).tolist() for path, parts in seen.items() if parts}
        return {path: dict(zip(self.names, mean, strict=True)) for path, mean in means.items()}

    def file_config(self) -> dict[str, Any]:
        """The config of the fusion and of each of its adapters."""
        return {
            "peft_type": Fusion.PEFT_TYPE,
            "task_type": task_type(self.model),
            "base_model_name_or_path": base_name(self.model),
            "inference_mode": True,
            "regularisation": self.config.regularisation,
            "names": self.names,
            "adapters": [config.model_dump() for config in self.configs],
            "modules_to_save": self.heads or None,
        }

    def save(self, folder: Path, values: Mapping[str, torch.Tensor]) -> None:
        """Write the fusion and its adapters into one folder."""
        trained = {name: values[name] for name in (*self.parameters, *self.in_place.parameters)}
        write_adapter(folder, self.file_config(), trained | self._all_frozen())

    def receive(self, tensors: Mapping[str, torch.Tensor], where: str) -> None:
        """Copy ``tensors`` onto the fusion and its adapters, all of them exactly, or a ``UserError``."""
        every = {**self.parameters, **self.in_place.parameters, **self._all_frozen()}
        land(tensors, every, self._aliases(), where)

    def _all_frozen(self) -> dict[str, nn.Parameter]:
        return {
            _numbered(name, index): parameter
            for index in range(len(self.names))
            for name, parameter in self.frozen(index).items()
        }

    @contextmanager
    def _watched(self, seen: Mapping[str, list[torch.Tensor]]) -> Iterator[None]:
        for path, layer in self.ends.items():
            layer.watch = seen[path].append
        try:
            yield
        finally:
            for layer in self.ends.values():
                layer.watch = None


def _numbered(name: str, index: int) -> str:
    """What a fusion's folder calls a tensor of adapter ``index``: ``….adapter.up…`` becomes ``….adapters.0.up…``."""
    return name.replace(".adapter.", f".adapters.{index}.")
