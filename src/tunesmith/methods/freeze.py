"""Partial fine-tuning: the top blocks, the head, the embeddings, or parameters chosen by pattern; the rest is frozen.

No backward pass runs below the lowest trained layer: nothing there requires a gradient, so autograd stops.
The trap: a head tied to the embeddings is the embeddings, and training those needs the whole backward pass. It is
therefore trained only where ``embeddings`` asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated, ClassVar

from pydantic import Field
from torch import nn

from tunesmith.errors import UserError, did_you_mean
from tunesmith.methods.insert import refuse_adapted
from tunesmith.methods.whole import AttachedWhole, LayerDecay
from tunesmith.models.layers import anatomy
from tunesmith.recipe.base import PartConfig


class Freeze(PartConfig):
    """Trains the top of the model and freezes the rest."""

    NAME: ClassVar[str] = "freeze"
    paper: ClassVar[str] = ""
    use: ClassVar[str] = (
        "Much like full fine-tuning where memory or time is short: no backward pass runs below the trained blocks."
    )
    usual_rate: ClassVar[float] = 5e-5

    top_layers: Annotated[int, Field(ge=0)] = 2
    """How many of the last blocks are trained; 0 with `head: true` trains the head only."""
    head: bool = True
    """Whether what comes after the blocks is trained: final norm, pooler, output projection (unless it is tied to the
    embeddings)."""
    embeddings: bool = False
    """Whether the embeddings are trained, and with them an output projection that is tied to them."""
    train: list[str] = []
    """Patterns of further parameters to train, such as `*.layers.0.*` or `*norm*`."""
    freeze: list[str] = []
    """Patterns of parameters that stay frozen whatever the options above say."""
    layer_decay: LayerDecay = 1.0
    """What the learning rate is multiplied by for every layer further down: 1 is one rate for all."""

    def attach(self, model: nn.Module, *, heads: Sequence[str] = ()) -> AttachedWhole:
        """Choose the trained parameters of ``model`` and freeze the others.

        Raises ``UserError``: ``unknown-family``, ``unknown-pattern``, ``nothing-trained``, ``not-enough-layers``.
        """
        chosen = self.check_model(model)
        names = [name for name, _ in model.named_parameters()]
        chosen.update(name for name in names if any(name.startswith(f"{head}.") for head in heads))
        if not chosen:
            raise UserError(
                "the method `freeze` would train nothing",
                hint="Set top_layers, head, embeddings or train.",
                code="nothing-trained",
            )
        return AttachedWhole(model, chosen, layer_decay=self.layer_decay)

    def check_model(self, model: nn.Module) -> set[str]:
        """Names of the parameters that the options choose; a ``UserError`` where one does not fit. Reads no weights."""
        refuse_adapted(model)
        names = [name for name, _ in model.named_parameters()]
        chosen = self._by_place(model, names) if self._uses_places else set()
        chosen.update(name for pattern in self.train for name in _matching(pattern, names))
        chosen.difference_update(name for pattern in self.freeze for name in _matching(pattern, names))
        return chosen

    @property
    def _uses_places(self) -> bool:
        return bool(self.top_layers or self.head or self.embeddings)

    def _by_place(self, model: nn.Module, names: list[str]) -> set[str]:
        found = anatomy(model)
        if self.top_layers > len(found.blocks):
            raise UserError(
                "top_layers is larger than the model",
                got=self.top_layers,
                allowed=f"0 to {len(found.blocks)}",
                code="not-enough-layers",
            )
        lowest = len(found.blocks) - self.top_layers
        chosen = set()
        for name in names:
            part = found.part_of(name)
            wanted = part >= lowest if isinstance(part, int) else (self.head if part == "head" else self.embeddings)
            if wanted:
                chosen.add(name)
        if self.head and not self.embeddings and not self.top_layers:
            _refuse_tied_head(model)
        return chosen


def _refuse_tied_head(model: nn.Module) -> None:
    """Training "the head only" of a tied model would train a norm and nothing else, which nobody means."""
    head = getattr(model, "get_output_embeddings", lambda: None)()
    embeddings = getattr(model, "get_input_embeddings", lambda: None)()
    if head is not None and embeddings is not None and head.weight is embeddings.weight:
        raise UserError(
            "the head of this model shares its weight with the embeddings, so it cannot be trained alone",
            hint="Set embeddings: true to train both, or top_layers: 1 to train the last block.",
            code="tied-head",
        )


def _matching(pattern: str, names: list[str]) -> list[str]:
    found = [name for name in names if fnmatchcase(name, pattern)]
    if not found:
        close = did_you_mean(pattern, names)
        raise UserError(
            "no parameter matches a pattern",
            got=f"'{pattern}'",
            allowed="patterns of parameter names such as '*.self_attn.*'",
            hint=close or f"Parameters have names such as {names[0]} and {names[-1]}.",
            code="unknown-pattern",
        )
    return found
