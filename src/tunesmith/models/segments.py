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
    """Group segments so that none is padded beyond 5/4 of its length (longest first)."""
    starts = [0]
    for length in lengths:
        starts.append(starts[-1] + length)
    groups: list[list[int]] = []
    for segment in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        if groups and lengths[segment] * 5 >= lengths[groups[-1][0]] * 4:
            groups[-1].append(segment)
        else:
            groups.append([segment])
    return tuple(_bucket(group, starts, lengths, device) for group in groups)


def _bucket(group: list[int], starts: list[int], lengths: tuple[int, ...], device: str) -> Bucket:
    longest = lengths[group[0]]
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
