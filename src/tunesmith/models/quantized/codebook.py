"""Weights as indices into a small table of values, a float32 scale a block: the machinery of NF4 and NF2.

A weight ``[out, in]`` is read row by row as one long vector and cut into blocks (the last may be short). Per block::

    absmax_b = max |w|        q_i = nearest index of w_i / absmax_b in the codebook        ŵ_i = code[q_i] · absmax_b

A boundary between two values belongs to the lower one. Whole blocks are multiplied by ``1 / absmax`` and the short last
one is divided, because bitsandbytes does so and a last bit may decide between two indices. Indices are packed from a
byte's high bits down; a vector that does not fill its last byte is padded with the index of zero.

Unpacking looks up whole bytes: a table of 256 rows holds the two (or four) values of every byte, and one gather of 8
(or 16) bytes an element brings them. It runs in pieces that stay in the processor's cache.

Shape legend: ``n = out · in`` values, ``B = ⌈n / block⌉`` blocks, ``per = 8 / bits`` values a byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch

from tunesmith.models.quantized import kernels, statistics

_SMALLEST = 1e-38
"""Stands in for the absolute maximum of a block of zeros."""
_WIDE = {2: torch.complex64, 4: torch.complex128}
"""A dtype as wide as that many float32 values: a gather of it moves them together."""


@dataclass(frozen=True)
class Codebook:
    """A weight format: ascending values in [-1, 1], how many weights share a scale, how scales are kept.

    Packed tensors: ``packed`` uint8 ``[⌈n / per⌉]`` and ``absmax`` float32 ``[B]``; with ``double`` those of
    ``statistics.compress`` in place of ``absmax``.
    """

    values: tuple[float, ...]
    block: int
    double: bool
    kernel: str | None = None
    """What bitsandbytes calls this codebook, where it has a kernel for it."""

    @property
    def per_byte(self) -> int:
        """Weights in one byte: 2 for 16 values, 4 for 4."""
        return {16: 2, 4: 4}[len(self.values)]

    def pack(self, weight: torch.Tensor) -> dict[str, torch.Tensor]:
        """``weight [out, in]`` of any floating dtype -> packed tensors on its device.

        Raises ``UserError`` ``weight-not-finite``.
        """
        flat = weight.detach().reshape(-1)
        packed = torch.empty(-(-flat.numel() // self.per_byte), dtype=torch.uint8, device=flat.device)
        absmax = torch.empty(-(-flat.numel() // self.block), dtype=torch.float32, device=flat.device)
        step = _at_once(flat.device) // 4  # some twenty bytes a value are alive while it is packed
        for start in range(0, flat.numel(), step):
            piece = flat[start : start + step].float()
            indices, largest = self._indices(piece)
            absmax[start // self.block :][: largest.numel()] = largest
            packed[start // self.per_byte :][: -(-piece.numel() // self.per_byte)] = self._joined(indices)
        scales = statistics.compress(absmax) if self.double else {"absmax": absmax}
        statistics.refuse_infinite(*scales.values())
        return {"packed": packed, **scales}

    def unpack(
        self, tensors: Mapping[str, torch.Tensor], shape: tuple[int, int], dtype: torch.dtype, room: torch.Tensor | None
    ) -> torch.Tensor:
        """Packed tensors -> weight ``shape [out, in]`` in ``dtype``, the float32 products rounded once.

        ``room`` (``[out, in]`` in ``dtype``, contiguous) is written to and returned: touching new memory costs a CPU
        several times what unpacking does.
        """
        packed, size = tensors["packed"], shape[0] * shape[1]
        absmax = statistics.expand(tensors) if self.double else tensors["absmax"]
        step = _at_once(packed.device)
        # importing bitsandbytes takes seconds, which a CPU earns back with large weights only
        asked = size % self.block == 0 and (size > step or packed.device.type != "cpu")
        unpacked = (kernels.chosen(self, packed.device.type, dtype) if asked else None) or self.look_up
        if room is None and size <= step:
            return unpacked(packed, absmax)[:size].view(shape).to(dtype)
        out = torch.empty(shape, dtype=dtype, device=packed.device) if room is None else room
        for start in range(0, size, step):
            piece = out.view(-1)[start : start + step]
            rows = packed[start // self.per_byte :][: -(-piece.numel() // self.per_byte)]
            scales = absmax[start // self.block :][: -(-piece.numel() // self.block)]
            piece.copy_(unpacked(rows, scales)[: piece.numel()])
        return out

    def look_up(self, packed: torch.Tensor, absmax: torch.Tensor) -> torch.Tensor:
        """``code[index] · absmax`` of every index in ``packed``, float32, a padded last byte included."""
        table = _table(self.values, self.per_byte, packed.device)
        found = table.index_select(0, packed.int()).view(torch.float32)
        statistics.multiply_blocks(found, absmax, self.block)
        return found

    def _indices(self, piece: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Float32 values from the start of a block -> uint8 index of each, float32 scale of each block."""
        whole = piece.numel() // self.block * self.block
        blocks, rest = piece[:whole].view(-1, self.block), piece[whole:]
        scales = blocks.abs().amax(1)
        scaled = (blocks * (1.0 / scales.clamp(min=_SMALLEST))[:, None]).view(-1)
        if rest.numel():
            scale = rest.abs().amax().clamp(min=_SMALLEST)
            scales, scaled = torch.cat([scales, scale[None]]), torch.cat([scaled, rest / scale])
        code = torch.tensor(self.values, device=piece.device)
        return torch.bucketize(scaled, (code[:-1] + code[1:]) / 2, out_int32=True).to(torch.uint8), scales

    def _joined(self, indices: torch.Tensor) -> torch.Tensor:
        """uint8 indices ``[m]`` -> bytes ``[⌈m / per⌉]``, the first index in the highest bits."""
        per, bits = self.per_byte, 8 // self.per_byte
        missing = -indices.numel() % per
        if missing:
            zero = min(range(len(self.values)), key=lambda index: abs(self.values[index]))
            indices = torch.nn.functional.pad(indices, (0, missing), value=zero)
        columns = indices.view(-1, per)
        joined = columns[:, 0].clone()
        for column in range(1, per):
            joined.bitwise_left_shift_(bits).bitwise_or_(columns[:, column])
        return joined


@cache
def _table(values: tuple[float, ...], per_byte: int, device: torch.device) -> torch.Tensor:
    """The values of every byte, ``[256]`` in a dtype as wide as ``per_byte`` float32 values."""
    bits = 8 // per_byte
    shifts = torch.arange(per_byte - 1, -1, -1) * bits
    rows = torch.tensor(values)[(torch.arange(256)[:, None] >> shifts) & (2**bits - 1)]
    return rows.view(_WIDE[per_byte]).view(-1).to(device)


def _at_once(device: torch.device) -> int:
    """Values that are unpacked (or packed) together: what a CPU's cache holds; elsewhere launches are what costs."""
    return 2**20 if device.type == "cpu" else 2**26
