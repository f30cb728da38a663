"""What methods share once they are on a model: the parts most do not need, layers around linears, parameters in place.

A method that wraps layers subclasses ``AttachedLayers`` and says three things: its parameters by stored name, what its
``adapter_config.json`` holds, and which of those entries must agree when a folder is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from tunesmith.contracts.method import Group, Moment
from tunesmith.errors import UserError
from tunesmith.methods.folder import PREFIX, land, read_adapter, write_adapter
from tunesmith.methods.insert import Adapted, disabled, merged_base, place
from tunesmith.models.quantized.model import dequantize_model

HeadRate = Annotated[float, Field(gt=0.0)]
"""What multiplies the learning rate for new heads (a classifier)."""


class Attachment:
    """The parts of ``contracts.method.Attached`` that most methods leave empty."""

    artifact: Literal["adapter", "model"] = "adapter"
    identity = True

    def penalty(self) -> torch.Tensor | None:
        """Nothing is added to the loss."""
        return None

    def before_step(self, moment: Moment, values: Mapping[str, torch.Tensor]) -> None:
        """Gradients are not looked at."""

    def after_step(self, moment: Moment, values: Mapping[str, torch.Tensor]) -> None:
        """Values stay what the optimizer made them."""

    def state(self) -> Mapping[str, torch.Tensor]:
        """Nothing is remembered."""
        return {}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Nothing to take back."""


class InPlace:
    """Parameters of the base itself that are trained beside an adapter: biases, norms, embeddings, new heads.

    ``named`` are stored names. ``heads`` are paths of those modules that are new, ``head_rate`` multiplies their
    learning rate.
    """

    def __init__(self, named: Mapping[str, nn.Parameter], *, heads: Sequence[str] = (), head_rate: float = 1.0) -> None:
        self.parameters, self.heads, self.head_rate = dict(named), tuple(heads), head_rate
        for parameter in self.parameters.values():
            parameter.requires_grad_(True)
        self._other = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    @classmethod
    def of_modules(cls, model: nn.Module, paths: Sequence[str]) -> InPlace:
        """Every parameter of the modules at ``paths``, by PEFT's names."""
        return cls(
            {
                f"{PREFIX}{path}.{name}": parameter
                for path in paths
                for name, parameter in model.get_submodule(path).named_parameters()
            }
        )

    def groups(self) -> list[Group]:
        """New heads at their own rate, and the rest; without weight decay."""
        heads = {
            name: value for name, value in self.parameters.items() if any(f".{path}." in name for path in self.heads)
        }
        others = {name: value for name, value in self.parameters.items() if name not in heads}
        found = [Group(heads, self.head_rate, decay=False), Group(others, decay=False)]
        return [group for group in found if group.parameters]

    def swap(self) -> None:
        """Exchange the values in the model with the others (trained <-> base)."""
        for name, parameter in self.parameters.items():
            here = parameter.data
            parameter.data = self._other[name].to(here)
            self._other[name] = here

    @contextmanager
    def off(self) -> Iterator[None]:
        """Within it the base's own values are in the model."""
        self.swap()
        try:
            yield
        finally:
            self.swap()


class AttachedLayers(Attachment):
    """Layers around linears of a frozen model, and perhaps parameters of the base trained in place.

    ``parameters`` are the layers' own by stored name.
    """

    AGREE: ClassVar[tuple[str, ...]] = ()
    """Entries of ``adapter_config.json`` that must be ours when a folder is read."""

    def __init__(
        self,
        model: nn.Module,
        layers: Mapping[str, Adapted],
        parameters: Mapping[str, nn.Parameter],
        in_place: InPlace | None = None,
    ) -> None:
        self.model, self.layers, self.parameters = model, dict(layers), dict(parameters)
        self.in_place = in_place or InPlace({})

    def groups(self) -> list[Group]:
        """The layers' own parameters; those of the base apart, without weight decay."""
        return [*([Group(self.parameters)] if self.parameters else []), *self.in_place.groups()]

    def file_config(self) -> dict[str, Any]:
        """What ``adapter_config.json`` holds."""
        raise NotImplementedError

    def off(self) -> AbstractContextManager[None]:
        """Within it the model answers as the untouched base."""
        return self._off()

    @contextmanager
    def _off(self) -> Iterator[None]:
        with self.in_place.off(), disabled(self.layers.values()):
            yield

    def remove(self) -> None:
        """Take the layers out of the model; the base is what it was before ``attach``."""
        for path, layer in self.layers.items():
            place(self.model, path, layer.base_layer)
        self.in_place.swap()

    def insert(self) -> None:
        """Put the layers back, around whatever stands at their paths now."""
        for path, layer in self.layers.items():
            layer.base_layer = self.model.get_submodule(path)
            layer.train(layer.base_layer.training)
            place(self.model, path, layer)
        self.in_place.swap()

    def save(self, folder: Path, values: Mapping[str, torch.Tensor]) -> None:
        """Write an adapter folder in PEFT's form."""
        names = [*self.parameters, *self.in_place.parameters]
        write_adapter(folder, self.file_config(), {name: values[name] for name in names})

    def load(self, folder: Path) -> None:
        """Read such a folder; what ``AGREE`` names must be this adapter's own (``adapter-mismatch``)."""
        stored, tensors = read_adapter(folder)
        ours = self.file_config()
        for key in self.AGREE:
            if stored.get(key, ours[key]) != ours[key]:
                raise UserError(
                    f"the adapter in {folder} was made with another {key}",
                    got=stored[key],
                    allowed=ours[key],
                    hint="`tunesmith.interop.peft.load_adapter` attaches it with its own settings.",
                    code="adapter-mismatch",
                )
        self.receive(self.unpacked(stored, tensors), str(folder))

    def unpacked(self, config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """A folder's ``tensors`` as the parameters hold them: the same, unless a method stores fewer."""
        return tensors

    def receive(self, tensors: Mapping[str, torch.Tensor], where: str) -> None:
        """Copy ``tensors``, by stored names, onto the parameters: all of them exactly, or a ``UserError``."""
        land(tensors, {**self.parameters, **self.in_place.parameters}, self._aliases(), where)

    def merge(self) -> nn.Module:
        """Add each layer's update to its base weight and put the bases back: the plain model.

        Raises ``UserError`` ``cannot-merge`` where the update is no change of the weight.
        """
        for path, layer in self.layers.items():
            if not hasattr(layer, "delta"):
                raise UserError(
                    f"{type(layer).__name__} computes what no single weight can, so it cannot be merged",
                    hint="Ship the adapter folder beside the base.",
                    code="cannot-merge",
                )
            if self.model.get_submodule(path) is not layer or isinstance(layer.base_layer, Adapted):
                raise UserError(
                    f"{path} carries several adapters, so one of them cannot be merged alone",
                    hint="Keep one of them active, then merge.",
                    code="cannot-merge",
                )
        dequantize_model(self.model)
        for path, layer in self.layers.items():
            place(self.model, path, merged_base(layer))
        return self.model

    def _aliases(self) -> dict[str, str]:
        """Other names of parameters trained in place, as PEFT stores a tied one under each of its names."""
        names = {id(parameter): name for name, parameter in self.in_place.parameters.items()}
        every = self.model.named_parameters(remove_duplicate=False) if names else ()
        return {f"{PREFIX}{name}": names[id(value)] for name, value in every if id(value) in names}


def task_type(model: nn.Module) -> str | None:
    """PEFT's word for what the model does, where PEFT then adds nothing of its own."""
    name = type(model).__name__
    endings = {
        "ForCausalLM": "CAUSAL_LM",
        "LMHeadModel": "CAUSAL_LM",
        "ForConditionalGeneration": "SEQ_2_SEQ_LM",
        "ForSequenceClassification": "SEQ_CLS",
        "ForTokenClassification": "TOKEN_CLS",
        "ForQuestionAnswering": "QUESTION_ANS",
    }
    return next((task for ending, task in endings.items() if name.endswith(ending)), None)


def base_name(model: nn.Module) -> str | None:
    """Where the base came from, as PEFT's configs say it."""
    return getattr(getattr(model, "config", None), "name_or_path", None) or None
