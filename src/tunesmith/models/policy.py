"""The model as the engine sees it: a batch in, what the objective wants out, head included."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from tunesmith.contracts.batch import Batch, Stream
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.models import drivers
from tunesmith.models.head import head_of
from tunesmith.models.task_head import head_output, task_view
from tunesmith.models.trunk import Trunk


class CausalPolicy(nn.Module):
    """Wraps a transformers model; ``driver`` says whether it is run flat or padded (chosen by ``probe.choose``).

    ``model`` stays the transformers model itself: methods attach to it, ``merge`` gives it back.
    """

    def __init__(self, model: Any, driver: drivers.DriverName = "flat") -> None:
        super().__init__()
        self.model = model
        self.trunk: Trunk | None = None
        """What is kept of its frozen lower layers, while it is trained (``trunk.keeping``)."""
        self.drive(driver)

    def __deepcopy__(self, memo: dict[int, Any]) -> CausalPolicy:
        # a driver is a function of the model it was made for: a plain copy would run the original
        made = CausalPolicy(copy.deepcopy(self.model, memo), self.driver)
        made.training = self.training
        return made

    def drive(self, driver: drivers.DriverName) -> None:
        """Switch the driver."""
        self.driver = driver
        self._run = (drivers.flat if driver == "flat" else drivers.padded)(self.model)
        self._shares = drivers.shares(self.model, driver)

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
        if self.trunk is None or stream.layout.cache is not None:
            return self._run(stream)
        return self.trunk(self._run, stream)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """``[N, d] -> [N, V]`` float32, as the family scales and caps them."""
        return head_of(self.model).logits(hidden)

    def forward(self, batch: Batch, want: Want) -> Outputs:
        """Read ``want`` at the batch's readout rows."""
        readout = batch.readout
        as_it_is = batch.main.layout.parents is None or self._shares
        stream, at = (batch.main, readout.rows) if as_it_is else drivers.apart(batch)
        rows = self.hidden(stream).index_select(0, at)
        if want.scores:
            return Outputs(scores=task_view(self.model).scores(rows))
        outputs = Outputs()
        if want.logprob or want.hit or want.entropy or want.token_fn is not None:
            outputs = head_of(self.model).read(rows, readout.labels, readout.weights, want, batch=batch)
        if want.hidden:
            outputs = replace(outputs, hidden=rows, logits=self.logits)
        if want.value:
            outputs = replace(outputs, value=head_output(self.model, "value", rows)[:, 0])
        return outputs
