"""Linear layers whatever holds their weight: what every method may ask of a base layer.

A base is seen through a thin view, so that no method has code for a kind of base. Three exist: ``nn.Linear`` (weight
``[out, in]``), GPT-2's ``Conv1D`` (weight ``[in, out]``, transposed) and a quantized layer (weight packed).

Shape legend: ``...`` any leading dimensions, ``in``/``out`` features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from tunesmith.models.quantized.linear import QuantizedLinear


class BaseLinear(Protocol):
    """``y = x Wᵀ + b`` with ``W [out, in]``, and what can be done with it."""

    @property
    def in_features(self) -> int:
        """Width of the input."""
        ...

    @property
    def out_features(self) -> int:
        """Width of the output."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """The dtype it computes in."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it lives."""
        ...

    @property
    def bias(self) -> nn.Parameter | None:
        """``[out]``, or None."""
        ...

    @property
    def transposed(self) -> bool:
        """Whether the model's own layer there is a ``Conv1D``, which stores ``[in, out]``."""
        ...

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[n, in] -> [n, out]``, a new tensor that the caller may change in place."""
        ...

    def grad_input(self, grad: torch.Tensor) -> torch.Tensor:
        """``grad · W``: ``[n, out] -> [n, in]``, a new tensor that the caller may change in place."""
        ...

    def dense(self) -> torch.Tensor:
        """``W [out, in]`` in the dtype it computes in; may share memory with the parameter."""
        ...

    def add_(self, delta: torch.Tensor) -> None:
        """``W += delta [out, in]`` in float32, rounded once to the stored dtype; a ``TypeError`` for a packed weight.

        Merging goes through ``quantized.model.dequantize_model`` first, after which every base is dense.
        """
        ...


@dataclass(frozen=True)
class _Weighted:
    """What both dense views share: a module with ``weight`` and ``bias``."""

    module: Any
    transposed = False

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weight."""
        return self.module.weight.dtype

    @property
    def device(self) -> torch.device:
        """The device of the weight."""
        return self.module.weight.device

    @property
    def bias(self) -> nn.Parameter | None:
        """``[out]``, or None."""
        return self.module.bias


class DenseLinear(_Weighted):
    """The view of an ``nn.Linear``."""

    @property
    def in_features(self) -> int:
        """Width of the input."""
        return int(self.module.weight.shape[1])

    @property
    def out_features(self) -> int:
        """Width of the output."""
        return int(self.module.weight.shape[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[n, in] -> [n, out]``."""
        return functional.linear(x, self.module.weight, self.module.bias)

    def grad_input(self, grad: torch.Tensor) -> torch.Tensor:
        """``[n, out] -> [n, in]``."""
        return grad @ self.module.weight

    def dense(self) -> torch.Tensor:
        """``[out, in]``."""
        return self.module.weight.detach()

    def add_(self, delta: torch.Tensor) -> None:
        """``W += delta [out, in]``."""
        _add(self.module.weight, delta)


class TransposedLinear(_Weighted):
    """The view of a transformers ``Conv1D``, whose weight is ``[in, out]``."""

    transposed = True

    @property
    def in_features(self) -> int:
        """Width of the input."""
        return int(self.module.weight.shape[0])

    @property
    def out_features(self) -> int:
        """Width of the output."""
        return int(self.module.weight.shape[1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[n, in] -> [n, out]``."""
        return torch.addmm(self.module.bias, x, self.module.weight)

    def grad_input(self, grad: torch.Tensor) -> torch.Tensor:
        """``[n, out] -> [n, in]``."""
        return grad @ self.module.weight.t()

    def dense(self) -> torch.Tensor:
        """``[out, in]``."""
        return self.module.weight.detach().t()

    def add_(self, delta: torch.Tensor) -> None:
        """``W += delta [out, in]``."""
        _add(self.module.weight, delta.t())


@dataclass(frozen=True)
class PackedLinear:
    """The view of a ``QuantizedLinear``."""

    module: QuantizedLinear

    @property
    def in_features(self) -> int:
        """Width of the input."""
        return self.module.in_features

    @property
    def out_features(self) -> int:
        """Width of the output."""
        return self.module.out_features

    @property
    def dtype(self) -> torch.dtype:
        """The dtype it computes in."""
        return self.module.dtype

    @property
    def device(self) -> torch.device:
        """Where the packed weight is."""
        return self.module.device

    @property
    def bias(self) -> nn.Parameter | None:
        """``[out]``, or None."""
        return self.module.bias

    @property
    def transposed(self) -> bool:
        """Whether it replaced a ``Conv1D``."""
        return self.module.transposed

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[n, in] -> [n, out]``."""
        return self.module(x)

    def grad_input(self, grad: torch.Tensor) -> torch.Tensor:
        """``[n, out] -> [n, in]``."""
        return self.module.grad_input(grad)

    def dense(self) -> torch.Tensor:
        """``[out, in]``, unpacked anew."""
        return self.module.dense()

    def add_(self, delta: torch.Tensor) -> None:
        """Refused: a sum that is packed again would not be the sum."""
        raise TypeError("a quantized weight cannot be added to; call dequantize_model on the model first")


def is_linear(module: nn.Module) -> bool:
    """Whether ``view`` knows this module."""
    return isinstance(module, nn.Linear | Conv1D | QuantizedLinear)


def view(module: nn.Module) -> BaseLinear:
    """``module`` as a ``BaseLinear``; a ``TypeError`` where it is none (callers choose among ``is_linear`` ones)."""
    if isinstance(module, nn.Linear):
        return DenseLinear(module)
    if isinstance(module, Conv1D):
        return TransposedLinear(module)
    if isinstance(module, QuantizedLinear):
        return PackedLinear(module)
    raise TypeError(f"{type(module).__name__} is not a linear layer")


@torch.no_grad()
def _add(weight: torch.Tensor, delta: torch.Tensor) -> None:
    exact = torch.promote_types(weight.dtype, torch.float32)
    weight.copy_(weight.to(exact) + delta.to(exact))
