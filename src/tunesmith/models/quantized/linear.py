"""A frozen linear layer whose weight is packed: ``y = x Ŵᵀ + b`` with ``Ŵ`` unpacked for each product.

    forward   y = x Ŵᵀ + b            backward   ∂x = g Ŵ,  ∂b = Σ g

Nothing is saved for backward: ``Ŵ`` is unpacked again. On a CPU a large weight goes into memory that all
layers share, because touching new memory costs several times what unpacking does.

``.to(dtype)`` sets the dtype of the computation and of the bias; packed tensors and their float32 statistics stay what
they are. ``.to(device)`` moves them. The ``state_dict`` holds packed tensors under the format's names, and the bias.

Shape legend: ``...`` any leading dimensions, ``in``/``out`` features.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from math import prod
from typing import Any, Protocol, Self

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from tunesmith.models.quantized import KINDS

_LARGE = 2**20
"""Weights above this many values are unpacked into shared memory; smaller ones get theirs from the allocator again."""


class Format(Protocol):
    """How a weight is packed. ``QuantizedLinear`` keeps the tensors as buffers under the names ``pack`` gives them."""

    def pack(self, weight: torch.Tensor) -> dict[str, torch.Tensor]:
        """``weight [out, in]`` of any floating dtype -> packed tensors on its device, by names no module has."""
        ...

    def unpack(
        self, tensors: Mapping[str, torch.Tensor], shape: tuple[int, int], dtype: torch.dtype, room: torch.Tensor | None
    ) -> torch.Tensor:
        """What ``pack`` gave -> ``[out, in]`` in ``dtype``; may be written to ``room`` (the same shape and dtype)."""
        ...


class QuantizedLinear(nn.Module):
    """``weight [out, in]`` packed by the format ``kind``; ``bias`` stays the parameter that it is.

    Computes in the weight's dtype until ``.to(dtype)``. ``transposed`` remembers that the layer came from a ``Conv1D``
    (weight ``[in, out]``), for the way back.
    """

    def __init__(self, weight: torch.Tensor, bias: nn.Parameter | None, *, kind: str, transposed: bool = False) -> None:
        super().__init__()
        self.bias: nn.Parameter | None
        self.out_features, self.in_features = weight.shape
        self.kind, self.transposed = kind, transposed
        self.format: Format = KINDS.load(kind)
        tensors = self.format.pack(weight)
        self.tensor_names = tuple(tensors)
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)
        # an empty tensor that every `.to` treats as it would treat the weight
        self.register_buffer("_like", weight.new_empty(0), persistent=False)
        self.register_parameter("bias", bias)
        self.kept: torch.Tensor | None = None
        """The dense weight, while ``quantized.model.dequantized`` lasts."""

    @property
    def dtype(self) -> torch.dtype:
        """The dtype it computes in."""
        return self._buffers["_like"].dtype  # type: ignore[union-attr]

    @property
    def device(self) -> torch.device:
        """Where it lives."""
        return self._buffers["_like"].device  # type: ignore[union-attr]

    @property
    def weight(self) -> torch.Tensor:
        """``[out, in]``, unpacked at every reading: for code that asks a linear for its weight."""
        return self.dense()

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The packed tensors, by the format's names."""
        return {name: self.get_buffer(name) for name in self.tensor_names}

    @property
    def packed_bytes(self) -> int:
        """Bytes of the weight as it is held."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[..., in] -> [..., out]``."""
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.dtype
        if torch.is_autocast_enabled(device):
            x = x.to(dtype)
        if self.kept is not None:
            return functional.linear(x, self.kept, self.bias)
        return _Product.apply(x, self.bias, self, dtype)

    def grad_input(self, grad: torch.Tensor) -> torch.Tensor:
        """``grad Ŵ``: ``[..., out] -> [..., in]``, a new tensor."""
        return grad @ self.passing(grad.dtype)

    def dense(self) -> torch.Tensor:
        """``Ŵ [out, in]`` in the dtype it computes in."""
        if self.kept is not None:
            return self.kept
        return self.format.unpack(self.tensors, (self.out_features, self.in_features), self.dtype, None)

    def passing(self, dtype: torch.dtype) -> torch.Tensor:
        """``Ŵ [out, in]`` in ``dtype``, good until the next call of any layer in this thread."""
        if self.kept is not None:
            return self.kept.to(dtype)
        shape = (self.out_features, self.in_features)
        # elsewhere torch's allocator hands out the same memory again, and streams may overlap
        large = prod(shape) > _LARGE and self.device.type == "cpu"
        room = _ROOMS.of(shape, dtype) if large else None
        return self.format.unpack(self.tensors, shape, dtype, room)

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        bias = self.bias is not None
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={bias}, {self.kind}"

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        before = self.tensors
        super()._apply(fn, recurse)
        for name, tensor in before.items():
            after = self.get_buffer(name)
            if after.dtype != tensor.dtype:
                self._buffers[name] = tensor.to(after.device)
        if self.kept is not None:
            self.kept = None
            self.kept = self.dense()
        return self


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, bias: torch.Tensor | None, layer: QuantizedLinear, dtype: torch.dtype
    ) -> torch.Tensor:
        ctx.layer = layer
        return functional.linear(x, layer.passing(dtype), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
        need_x, need_bias, _, _ = ctx.needs_input_grad
        return (
            ctx.layer.grad_input(grad) if need_x else None,
            grad.reshape(-1, grad.shape[-1]).sum(0) if need_bias else None,
            None,
            None,
        )


class _Rooms(threading.local):
    """Memory for one unpacked weight a dtype, as large as the largest asked for; each thread has its own."""

    def __init__(self) -> None:
        self.rooms: dict[torch.dtype, torch.Tensor] = {}

    def of(self, shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
        room, size = self.rooms.get(dtype), prod(shape)
        if room is None or room.numel() < size:
            room = self.rooms[dtype] = torch.empty(size, dtype=dtype)
        return room[:size].view(shape)


_ROOMS = _Rooms()
