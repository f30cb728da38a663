"""The model as the engine sees it: a batch in, what the objective wants out, head included."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tunesmith.contracts.batch import Batch, Stream
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.models import drivers
from tunesmith.models.head import head_of
from tunesmith.models.task_head import task_view


class CausalPolicy(nn.Module):
    """Wraps a transformers model; ``driver`` says whether it is run flat or padded (chosen by ``probe.choose``).

    ``model`` stays the transformers model itself: methods attach to it, ``merge`` gives it back.
    """

    def __init__(self, model: Any, driver: drivers.DriverName = "flat") -> None:
        super().__init__()
        self.model = model
        self.drive(driver)

    def drive(self, driver: drivers.DriverName) -> None:
        """Switch the driver."""
        self.driver = driver
        self._run = (drivers.flat if driver == "flat" else drivers.padded)(self.model)

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        parameter: nn.Parameter = next(self.model.parameters())
        return parameter.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the forward pass."""
        parameter: nn.Parameter = next(self.model.parameters())
        return parameter.dtype

    def hidden(self, stream: Stream) -> torch.Tensor:
        """Last hidden states ``[T, d]`` of a flat stream."""
        return self._run(stream)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """``[N, d] -> [N, V]`` float32, as the family scales and caps them."""
        return head_of(self.model).logits(hidden)

    def forward(self, batch: Batch, want: Want) -> Outputs:
        """Read ``want`` at the batch's readout rows."""
        readout = batch.readout
        rows = self.hidden(batch.main).index_select(0, readout.rows)
        if want.scores:
            return Outputs(scores=task_view(self.model).scores(rows))
        return head_of(self.model).read(rows, readout.labels, readout.weights, want)
