"""What a method would train of a model, and the memory that takes: counted on the model itself, nothing is trained.

Bytes: a trained parameter has a float32 master, a float32 gradient and two moments of Adam (16 bytes) and, where
the model computes in bfloat16, the copy it computes with. The base is held in the compute dtype, or packed. Activations
are not in it: they depend on the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from tunesmith.methods import TABLE as METHODS
from tunesmith.models.load import load_model
from tunesmith.models.quantized.model import quantize_model
from tunesmith.recipe import Part
from tunesmith.recipe.parts import build

STATE_BYTES = 16
"""Of a trained parameter: master, gradient, two moments."""


@dataclass(frozen=True)
class Sizes:
    """``trained`` parameters of ``whole`` in the base; bytes of the base's weights and of what training adds."""

    trained: int
    whole: int
    base_bytes: int
    training_bytes: int

    @property
    def share(self) -> float:
        """Trained parameters as a share of the base's."""
        return self.trained / self.whole


def sizes(method: Part, base: str, *, quantize: str = "none") -> Sizes:
    """Attach ``method`` to the model of ``base`` and count. Raises what loading and attaching raise."""
    model: Any = load_model(base)
    whole = sum(value.numel() for value in model.parameters())
    if quantize != "none":
        quantize_model(model, quantize)
    base_bytes = sum(value.nbytes for value in (*model.parameters(), *model.buffers()))
    attached = build(METHODS, method).attach(model)
    values = [value for group in attached.groups() for value in group.parameters.values()]
    trained = sum(value.numel() for value in values)
    copies = sum(value.nbytes for value in values if value.dtype != torch.float32)
    inside = copies if attached.artifact == "model" else 0  # counted with the base already
    return Sizes(trained, whole, base_bytes, STATE_BYTES * trained + copies - inside)
