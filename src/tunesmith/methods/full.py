"""Full fine-tuning: every parameter of the base is trained, and the result is a whole model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import nn

from tunesmith.methods.insert import refuse_adapted
from tunesmith.methods.whole import AttachedWhole
from tunesmith.recipe.base import PartConfig


class Full(PartConfig):
    """Trains every parameter of the model."""

    NAME: ClassVar[str] = "full"
    paper: ClassVar[str] = ""

    def attach(self, model: nn.Module, *, heads: Sequence[str] = ()) -> AttachedWhole:
        """Make every parameter of ``model`` trainable."""
        refuse_adapted(model)
        return AttachedWhole(model, {name for name, _ in model.named_parameters()})
