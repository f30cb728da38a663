"""Scales, and double quantization: the scales of NF4 blocks in 8 bits (QLoRA, arXiv:2305.14314, section 3).

    offset = mean(absmax)        absmax ≈ code8[q] · nested_absmax + offset        one ``nested_absmax`` per 256 scales

``code8`` is the signed dynamic map (Dettmers 2015, arXiv:1511.04561): a sign, a run of zeros that is a power of ten,
and the remaining bits linear in between; values crowd around zero. It reaches from -0.993 to 1.

Trap: bitsandbytes' CPU kernel does not look for the nearest of the 256 values: it rounds to one of 65,536 bins and
takes the value nearest to the bin. We do the same, so that our bytes are its bytes; this adds an error below 2⁻¹⁵ of
``nested_absmax``.

Shape legend: ``B`` scales, ``N = ⌈B / 256⌉``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import torch

from tunesmith.errors import UserError

BLOCK = 256
_BINS = 2**16


def compress(absmax: torch.Tensor) -> dict[str, torch.Tensor]:
    """Float32 scales ``[B]`` -> uint8 ``absmax [B]``, float32 ``nested_absmax [N]`` and ``nested_offset []``."""
    offset = absmax.mean()
    padded = torch.nn.functional.pad(absmax - offset, (0, -absmax.numel() % BLOCK)).view(-1, BLOCK)
    largest = padded.abs().amax(1)
    # a block whose scales are all alike has nothing left to keep; its index is 0, as in bitsandbytes
    inverse = torch.where(largest == 0, 0.0, 1.0 / largest)
    indices = torch.where((largest == 0)[:, None], 0, _nearest(padded * inverse[:, None]))
    return {
        "absmax": indices.view(-1)[: absmax.numel()].to(torch.uint8),
        "nested_absmax": largest,
        "nested_offset": offset,
    }


def expand(tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """What ``compress`` gave -> float32 scales ``[B]``."""
    indices = tensors["absmax"]
    found = dynamic_map(indices.device).index_select(0, indices.int())
    multiply_blocks(found, tensors["nested_absmax"], BLOCK)
    return found.add_(tensors["nested_offset"])


def multiply_blocks(values: torch.Tensor, scales: torch.Tensor, block: int) -> None:
    """Multiply each ``block`` of ``values [n]`` by its scale (``[⌈n / block⌉]``), in place; the last may be short."""
    whole = values.numel() // block
    values[: whole * block].view(-1, block).mul_(scales[:whole, None])
    values[whole * block :].mul_(scales[whole:])


@cache
def dynamic_map(device: torch.device) -> torch.Tensor:
    """The 256 values of ``code8``, ascending, float32."""
    values = [torch.tensor([0.0, 1.0])]
    for exponent in range(7):
        edges = torch.linspace(0.1, 1.0, 2**exponent + 1)
        middles = (edges[:-1] + edges[1:]) / 2 * 10.0 ** (exponent - 6)
        values += [middles, -middles]
    return torch.cat(values).sort().values.to(device)


def refuse_infinite(*scales: torch.Tensor) -> None:
    """A ``UserError`` (``weight-not-finite``) where a scale shows that a weight is infinite, no number or huge."""
    if all(bool(torch.isfinite(scale).all()) for scale in scales):
        return
    raise UserError(
        "a weight is infinite, not a number or too large to be quantized",
        hint="Load the base in float32 or bfloat16: float16 overflows above 65,504.",
        code="weight-not-finite",
    )


def _nearest(scaled: torch.Tensor) -> torch.Tensor:
    """Float32 in [-1, 1] -> int64 index into ``code8``."""
    share = (scaled.clamp(-1.0, 1.0) + 1.0) * 0.5
    bins = share.mul(_BINS - 1).add_(0.5).long().clamp_(0, _BINS - 1)
    return _index_of_bin(scaled.device)[bins]


@cache
def _index_of_bin(device: torch.device) -> torch.Tensor:
    code = dynamic_map(device)
    centres = -1.0 + 2.0 * torch.arange(_BINS, dtype=torch.float32, device=device) / (_BINS - 1)
    return torch.bucketize(centres, (code[:-1] + code[1:]) * 0.5)
