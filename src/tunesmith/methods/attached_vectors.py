"""Trained vectors on a model: the life of what `prompt`, `p-tuning`, `prefix` and `p-tuning-v2` attach.

The vectors are a module inside the model's body, so that they are cast, moved and sharded with it. Hooks on the body
use them; nothing outside knows. What an adapter folder holds is what they computed (see ``vectors``).

The trap: hooks take vectors and layers from the body they are called with, so that a copied model has its own.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from tunesmith.contracts.method import Group
from tunesmith.errors import UserError
from tunesmith.methods.attachment import Attachment, InPlace, base_name, task_type
from tunesmith.methods.folder import land, read_adapter, write_adapter
from tunesmith.methods.vectors import STORED, Vectors, refuse_prompted
from tunesmith.models import prefixed
from tunesmith.models.prefixed import PLACE

HEAD = "base_model."
"""What PEFT puts before the path of a head that is stored beside a prompt."""


class AttachedVectors(Attachment):
    """Vectors on a model. A subclass says what happens ``before`` and ``after`` the body, and what PEFT calls it."""

    PEFT: ClassVar[str]
    """PEFT's ``peft_type``."""
    identity = False
    """A prompt changes what the model sees from the first step on."""

    def __init__(
        self, model: nn.Module, vectors: Vectors, *, heads: Sequence[str] = (), head_rate: float = 1.0
    ) -> None:
        self.model, self.vectors, self.heads = model, vectors, list(heads)
        self.base: Any = model.base_model
        self.body: Any = prefixed.entrance(model)
        self.tokens = len(vectors.embedding)
        model.requires_grad_(False)
        vectors.requires_grad_(True)
        kept = {
            f"{HEAD}{path}.{name}": parameter
            for path in heads
            for name, parameter in model.get_submodule(path).named_parameters()
        }
        self.in_place = InPlace(kept, heads=heads, head_rate=head_rate)
        self.body.add_module(PLACE, vectors.train(model.training))
        self._switch_on()

    def before(self, body: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        """The body's inputs by name, and what it is given instead. (``body`` is handed in: a copied model has its
        own.)"""
        raise NotImplementedError

    def after(self, body: Any, output: Any) -> Any:
        """The body's output, and what is seen outside instead."""
        return output

    def file_config(self) -> dict[str, Any]:
        """What ``adapter_config.json`` holds besides what all of them share."""
        raise NotImplementedError

    def groups(self) -> list[Group]:
        """The vectors; heads apart, at a rate of their own and without weight decay."""
        return [Group(self.vectors.named()), *self.in_place.groups()]

    def state(self) -> Mapping[str, torch.Tensor]:
        """What an encoder's output is added to, where there is such."""
        return {} if self.vectors.start is None else {"start": self.vectors.start}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take back what ``state`` gave."""
        start = state.get("start")
        self.vectors.start = None if start is None else start.to(self.vectors.embedding, copy=True)

    @contextmanager
    def off(self) -> Iterator[None]:
        """Within it the model answers as the untouched base."""
        self._switch_off()
        try:
            with self.in_place.off():
                yield
        finally:
            self._switch_on()

    def remove(self) -> None:
        """Take the vectors out of the model; the base is what it was before ``attach``."""
        self._switch_off()
        delattr(self.body, PLACE)
        self.in_place.swap()

    def insert(self) -> None:
        """Put them back."""
        refuse_prompted(self.model)
        self.body.add_module(PLACE, self.vectors.train(self.model.training))
        self.in_place.swap()
        self._switch_on()

    def save(self, folder: Path, values: Mapping[str, torch.Tensor]) -> None:
        """Write an adapter folder in PEFT's form: the vectors as the model reads them, and heads."""
        vectors = copy.deepcopy(self.vectors)
        with torch.no_grad():
            for name, parameter in vectors.named().items():
                parameter.copy_(values[name])
            stored = {STORED: vectors()}
        stored |= {name: values[name] for name in self.in_place.parameters}
        shared = {
            "peft_type": self.PEFT,
            "task_type": task_type(self.model),
            "base_model_name_or_path": base_name(self.model),
            "inference_mode": True,
            "num_virtual_tokens": self.tokens,
            "num_transformer_submodules": 1,
        }
        heads = {"modules_to_save": self.heads} if self.heads else {}
        write_adapter(folder, {**shared, **self.file_config(), **heads}, stored)

    def load(self, folder: Path) -> None:
        """Read such a folder, or PEFT's own. Training may go on from what is read, with the encoder at rest."""
        config, tensors = read_adapter(folder)
        kind = config.get("peft_type")
        if kind != self.PEFT:
            raise UserError(
                f"the adapter in {folder} is of another kind", got=kind, allowed=self.PEFT, code="adapter-mismatch"
            )
        shape = self.vectors().shape
        read = nn.Parameter(torch.empty(shape, dtype=torch.float32), requires_grad=False)
        land(tensors, {STORED: read, **self.in_place.parameters}, {}, str(folder))
        self.vectors.receive(read)

    def merge(self) -> nn.Module:
        """Not possible: raises ``UserError`` ``cannot-merge``."""
        raise UserError(
            "virtual tokens are inputs and not weights, so they cannot be merged into the base",
            hint="Ship the adapter folder beside the base.",
            code="cannot-merge",
        )

    def _switch_on(self) -> None:
        names = list(inspect.signature(self.body.forward).parameters)

        def before(body: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[()], dict[str, Any]]:
            inputs = dict(zip(names, given, strict=False)) | named
            if "return_dict" in inputs:
                inputs["return_dict"] = True  # callers may still index what they get
            return (), self.before(body, inputs)

        def after(body: nn.Module, _: tuple[()], output: Any) -> Any:
            return self.after(body, output)

        self.base.virtual_positions = self.tokens
        self._hooks = [
            self.body.register_forward_pre_hook(before, with_kwargs=True),
            self.body.register_forward_hook(after),
        ]

    def _switch_off(self) -> None:
        del self.base.virtual_positions
        for hook in self._hooks:
            hook.remove()
