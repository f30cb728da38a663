"""Full fine-tuning: every parameter of the base is trained, and the result is a whole model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import nn

from tunesmith.methods.insert import refuse_adapted
from tunesmith.methods.whole import AttachedWhole, LayerDecay
from tunesmith.recipe.base import PartConfig


class Full(PartConfig):
    """Trains every parameter of the model."""

    NAME: ClassVar[str] = "full"
    paper: ClassVar[str] = ""
    use: ClassVar[str] = (
        "Enough memory for three to four copies of the model, many rows, and a result that may change everything."
    )
    usual_rate: ClassVar[float] = 2e-5

    layer_decay: LayerDecay = 1.0
    """What the learning rate is multiplied by for every layer further down: 1 is one rate for all, 0.8 to 0.95 keeps
    the lower layers of an encoder closer to what they were."""

    def attach(self, model: nn.Module, *, heads: Sequence[str] = ()) -> AttachedWhole:
        """Make every parameter of ``model`` trainable.

        Raises ``UserError``: ``already-attached``, and with ``layer_decay`` ``unknown-family``.
        """
        refuse_adapted(model)
        return AttachedWhole(model, {name for name, _ in model.named_parameters()}, layer_decay=self.layer_decay)
