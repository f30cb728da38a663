"""Training the model's own parameters: what ``full`` and ``freeze`` share once they know which ones.

The artifact is a transformers folder. Tied weights are one parameter with several names; it is trained and stored once.

Layer-wise rates (Howard & Ruder 2018, arXiv:1801.06146, section 3.1; Clark et al. 2020, arXiv:2003.10555, appendix A):
with ``L`` blocks and a decay ``d``, the head learns at the full rate, block ``i`` at ``d^(L-i)`` of it, the embeddings
at ``d^(L+1)``.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from safetensors import safe_open
from torch import nn

from tunesmith.contracts.method import Group
from tunesmith.errors import UserError
from tunesmith.methods.attachment import Attachment
from tunesmith.models.layers import anatomy
from tunesmith.models.quantized.linear import QuantizedLinear

LayerDecay = Annotated[float, Field(gt=0.0, le=1.0)]


class AttachedWhole(Attachment):
    """A model of which the parameters ``names`` are trained and all others frozen."""

    artifact: Literal["adapter", "model"] = "model"

    def __init__(self, model: nn.Module, names: Collection[str], *, layer_decay: float = 1.0) -> None:
        _refuse_quantized(model)
        self.model = model
        self.trained: dict[str, nn.Parameter] = {}
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in names)
            if name in names:
                self.trained[name] = parameter
        self.rates = layer_rates(model, self.trained, layer_decay)

    def groups(self) -> list[Group]:
        """Matrices, and apart from them vectors (biases and norms), which are never decayed; from the top down."""
        found: list[Group] = []
        for rate in sorted(set(self.rates.values()), reverse=True):
            level = {name: parameter for name, parameter in self.trained.items() if self.rates[name] == rate}
            matrices = {name: parameter for name, parameter in level.items() if parameter.ndim > 1}
            vectors = {name: parameter for name, parameter in level.items() if parameter.ndim <= 1}
            found += [Group(matrices, rate), Group(vectors, rate, decay=False)]
        return [group for group in found if group.parameters]

    def off(self) -> AbstractContextManager[None]:
        """Nothing to switch off: the model itself is trained."""
        return nullcontext()

    def save(self, folder: Path, values: Mapping[str, torch.Tensor]) -> None:
        """Write a transformers folder, trained parameters from ``values``, in the dtypes the model has."""
        state = self.model.state_dict()
        fresh = {
            id(parameter): values[name].detach().to("cpu", parameter.dtype) for name, parameter in self.trained.items()
        }
        for name, parameter in self.model.named_parameters(remove_duplicate=False):
            if id(parameter) in fresh:
                state[name] = fresh[id(parameter)]
        model: Any = self.model
        model.save_pretrained(folder, state_dict=state)

    def load(self, folder: Path) -> None:
        """Read a transformers folder of the same architecture; ``UserError`` (``model-mismatch``) unless all lands.

        Tensors are streamed into place where the files name them as the model does (a second copy of the model is made
        only for architectures whose files have other names).
        """
        if _streamed(self.model, folder):
            return
        model: Any = self.model
        stored, report = type(model).from_pretrained(
            folder,
            config=copy.deepcopy(model.config),
            dtype=model.dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            local_files_only=True,
        )
        problems = {kind: sorted(map(str, report.get(kind, ()))) for kind in _PROBLEMS}
        if any(problems.values()):
            shown = "; ".join(f"{_PROBLEMS[kind]}: {', '.join(names[:3])}" for kind, names in problems.items() if names)
            raise UserError(
                f"the model in {folder} does not fit this one",
                got=shown,
                hint="Load it on the base it was trained from.",
                code="model-mismatch",
            )
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), stored.parameters(), strict=True):
                parameter.copy_(value)

    def merge(self) -> nn.Module:
        """The model as it is."""
        return self.model


def layer_rates(model: nn.Module, names: Collection[str], decay: float) -> dict[str, float]:
    """What multiplies the learning rate of each of ``names``, by depth; a decay of 1 needs no known family."""
    if decay == 1.0:
        return dict.fromkeys(names, 1.0)
    found = anatomy(model)
    blocks = len(found.blocks)

    def above(name: str) -> int:
        part = found.part_of(name)
        return blocks - part if isinstance(part, int) else {"head": 0, "embedding": blocks + 1}[part]

    return {name: decay ** above(name) for name in names}


def _refuse_quantized(model: nn.Module) -> None:
    if any(isinstance(module, QuantizedLinear) for module in model.modules()):
        raise UserError(
            "this method trains weights of the base, which have no gradient while they are packed",
            got="a quantized base",
            allowed="an adapter method such as lora, or model.quantize: none",
            code="quantized-base",
        )


def _streamed(model: nn.Module, folder: Path) -> bool:
    """Copy the folder's safetensors into ``model`` one by one; False, nothing changed, where names or shapes differ."""
    own = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers())
    found: dict[str, Path] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            shapes = {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
        if any(name not in own or tuple(own[name].shape) != shape for name, shape in shapes.items()):
            return False
        found |= dict.fromkeys(shapes, file)
    stored = {id(own[name]) for name in found}
    if any(id(parameter) not in stored for parameter in model.parameters()):
        return False
    with torch.no_grad():
        for file in sorted(set(found.values())):
            with safe_open(file, framework="pt") as tensors:
                for name in (name for name, place in found.items() if place == file):
                    own[name].copy_(tensors.get_tensor(name))
    return True


_PROBLEMS = {
    "missing_keys": "not in the folder",
    "unexpected_keys": "not in the model",
    "mismatched_keys": "of another shape",
}
