"""The layers of bottleneck adapters: the network itself, the ends of sublayers it adds to, the beginnings it may read.

The trap: beside an MLP the input is needed at its end. ``Entrance`` hands it from the first linear of the MLP to the
last one, within one call of the block, so that recomputed activations hand over their own.

Shape legend: ``n`` rows, ``w`` width, ``m`` bottleneck; ``D [m, w]``, ``U [w, m]``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from tunesmith.methods.insert import Adapted, insert
from tunesmith.models.linears import BaseLinear

if TYPE_CHECKING:
    from tunesmith.methods.adapter import Adapter

ACTIVATIONS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "tanh": torch.tanh,
}


class Bottleneck(nn.Module):
    """``D``, ``d``, ``U``, ``u`` of one adapter, as wide as what ``base`` gives."""

    def __init__(self, base: BaseLinear, config: Adapter) -> None:
        super().__init__()
        width = base.out_features
        size = config.size or max(1, width // config.reduction)
        like: dict[str, Any] = {"device": base.device, "dtype": base.dtype}
        start = torch.empty(size, width).uniform_(-1.0, 1.0) / math.sqrt(width)
        self.down = nn.Parameter(start.to(**like))
        self.down_bias = nn.Parameter(torch.zeros(size, **like))
        self.up = nn.Parameter(torch.zeros(width, size, **like))
        self.up_bias = nn.Parameter(torch.zeros(width, **like))
        self.activation, self.scale, self.dropout = ACTIVATIONS[config.activation], config.factor, config.dropout

    def added_to(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """``y + z(x)``, ``[n, w]``."""
        shifted = torch.add(y, self.up_bias, alpha=self.scale)
        return torch.addmm(shifted, self._inner(x), self.up.t(), alpha=self.scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``z(x)``, ``[n, w]``."""
        return functional.linear(self._inner(x), self.up, self.up_bias) * self.scale

    def stored(self) -> dict[str, nn.Parameter]:
        """The parameters by the names files use."""
        return {
            "down.weight": self.down,
            "down.bias": self.down_bias,
            "up.weight": self.up,
            "up.bias": self.up_bias,
        }

    def _inner(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.activation(functional.linear(x, self.down, self.down_bias))
        return functional.dropout(inner, self.dropout, self.training) if self.dropout else inner


class Handover:
    """Carries the input of an MLP from its first linear to its last."""

    def __init__(self) -> None:
        self._kept: torch.Tensor | None = None

    def put(self, x: torch.Tensor) -> None:
        """Keep ``x`` until ``take``."""
        self._kept = x

    def take(self) -> torch.Tensor:
        """What was put, once."""
        kept, self._kept = self._kept, None
        assert kept is not None, "the end of an MLP ran before its beginning"
        return kept


class SublayerEnd(Adapted):
    """The last linear of a sublayer, and what is added after it by ``after(y, x)``."""

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        self.source: Handover | None = None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """``[..., in] -> [..., w]``."""
        y = self.base_layer(inputs)
        if not self.enabled:
            return y
        rows = y.reshape(-1, y.shape[-1])
        x = rows if self.source is None else self.source.take().reshape(rows.shape)
        return self.after(rows, x).view(y.shape)

    def after(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """What the sublayer gives instead of ``y [n, w]``; ``x [n, w]`` is what the adapter reads."""
        raise NotImplementedError


class AdapterLayer(SublayerEnd):
    """A linear layer with an adapter after it."""

    def __init__(self, base_layer: nn.Module, config: Adapter) -> None:
        super().__init__(base_layer)
        self.adapter = Bottleneck(self.base, config)

    def after(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """``y + z(x)``."""
        return self.adapter.added_to(y, x)


class Entrance(Adapted):
    """The first linear of an MLP, which hands over its input."""

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        self.handover = Handover()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., in] -> [..., out]``."""
        if self.enabled:
            self.handover.put(x)
        return self.base_layer(x)


def put_in(
    model: nn.Module, places: Mapping[str, str | None], make: Callable[[nn.Module], SublayerEnd]
) -> dict[str, Adapted]:
    """Freeze ``model`` and put ``make(linear)`` at every place, and an ``Entrance`` where it reads from."""
    starts = insert(model, [start for start in places.values() if start], Entrance)
    ends = insert(model, places, make)
    for path, start in places.items():
        if start:
            ends[path].source = starts[start].handover
    return {**ends, **starts}
