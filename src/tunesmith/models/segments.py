"""How segments of a flat stream are grouped for batched products, and which tokens see which."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch


@dataclass(frozen=True)
class Bucket:
    """Segments padded to one length: ``rows`` int64 ``[B*L]`` into the stream (padding repeats a first row),
    ``kept`` int64 ``[n]`` positions in ``B*L`` that are real, ``target`` int64 ``[n]`` their stream rows."""

    size: int
    length: int
    rows: torch.Tensor
    kept: torch.Tensor
    target: torch.Tensor
    lengths: torch.Tensor
    full: bool
    """whether nothing is padded"""


@lru_cache(maxsize=64)
def buckets(lengths: tuple[int, ...], device: str) -> tuple[Bucket, ...]:
    """Group segments of similar length, longest first.

    Lengths are rounded up to a grid and a bucket's size is a power of two, so that few product shapes exist: CPU
    libraries compile a kernel (and keep a megabyte) for each shape they have not met.
    """
    starts = [0]
    for length in lengths:
        starts.append(starts[-1] + length)
    ordered = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    groups: list[list[int]] = []
    for segment in ordered:
        if groups and grid(lengths[segment]) * 5 >= grid(lengths[groups[-1][0]]) * 4:
            groups[-1].append(segment)
        else:
            groups.append([segment])
    pieces = [piece for group in groups for piece in _powers_of_two(group)]
    return tuple(_bucket(piece, starts, lengths, device) for piece in pieces)


def grid(length: int) -> int:
    """``length`` rounded up to a multiple of 16, 32 or 64 (at most an eighth of it from 128 on)."""
    step = 16 if length <= 256 else 32 if length <= 512 else 64
    return -(-length // step) * step


def _powers_of_two(group: list[int]) -> list[list[int]]:
    pieces, start = [], 0
    while start < len(group):
        size = 1 << ((len(group) - start).bit_length() - 1)
        pieces.append(group[start : start + size])
        start += size
    return pieces


def _bucket(group: list[int], starts: list[int], lengths: tuple[int, ...], device: str) -> Bucket:
    longest = grid(lengths[group[0]])
    first = torch.tensor([starts[segment] for segment in group])[:, None]
    size = torch.tensor([lengths[segment] for segment in group])[:, None]
    offset = torch.arange(longest)[None, :]
    real = offset < size
    rows = torch.where(real, first + offset, first).reshape(-1)
    kept = real.reshape(-1).nonzero().squeeze(1)
    return Bucket(
        size=len(group),
        length=longest,
        rows=rows.to(device),
        kept=kept.to(device),
        target=rows[kept].to(device),
        lengths=size.squeeze(1).to(device),
        full=bool(real.all()),
    )


def visible(length: int, *, causal: bool, window: int | None, device: torch.device | str) -> torch.Tensor:
    """Bool ``[length, length]``: row i sees column j. A window of W counts the token itself."""
    position = torch.arange(length, device=device)
    distance = position[:, None] - position[None, :]
    seen = distance >= 0 if causal else torch.ones_like(distance, dtype=torch.bool)
    if window is not None:
        seen = seen & (distance.abs() < window)
    return seen
