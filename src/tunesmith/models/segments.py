"""How segments of a flat stream are grouped for batched products, and which tokens see which."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F

ROUNDED = 64


@dataclass(frozen=True)
class Shape:
    """What a layer asks of its attention."""

    scaling: float
    causal: bool
    window: int | None = None
    softcap: float | None = None
    dropout: float = 0.0


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


def surplus(tokens: int, device: torch.device) -> int:
    """Rows that no segment owns, added to a long stream on a CPU so that few product shapes exist (see ``buckets``).

    They are at most 63, carry no gradient and are cut off again; short streams have none, nor has decoding.
    """
    return -tokens % ROUNDED if device.type == "cpu" and tokens > 4 * ROUNDED else 0


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


@dataclass(frozen=True)
class Inserted:
    """Where rows go when the same ``X`` new rows are put in front of every segment of a stream of ``T`` rows.

    Row ``i`` of the longer stream is row ``source[i]`` of the ``X`` new rows and the ``T`` old ones after them; old row
    ``j`` becomes row ``kept[j]``. ``starts`` int64 ``[S+1]`` and ``lengths`` are the longer segments'. Rows beyond the
    last segment (a stream rounded up in length) stay beyond it.
    """

    source: torch.Tensor
    kept: torch.Tensor
    starts: torch.Tensor
    lengths: tuple[int, ...]


@lru_cache(maxsize=64)
def inserted(lengths: tuple[int, ...], new: int, rows: int, device: str) -> Inserted:
    """The places for ``new`` rows in front of each segment of a stream of ``rows`` rows."""
    sizes = torch.tensor(lengths)
    starts = torch.cat([torch.zeros(1, dtype=torch.long), (sizes + new).cumsum(0)])
    segments_before = torch.repeat_interleave(torch.arange(1, len(lengths) + 1), sizes)
    beyond = torch.full((rows - len(segments_before),), len(lengths))
    kept = torch.arange(rows) + new * torch.cat([segments_before, beyond])
    source = torch.empty(rows + new * len(lengths), dtype=torch.long)
    source[starts[:-1, None] + torch.arange(new)] = torch.arange(new)
    source[kept] = new + torch.arange(rows)
    return Inserted(source.to(device), kept.to(device), starts.to(device), tuple((sizes + new).tolist()))


def visible(
    length: int, *, causal: bool, window: int | None, device: torch.device | str, prefix: int = 0
) -> torch.Tensor:
    """Bool ``[length, prefix + length]``: row i sees column j. A window of W counts the token itself.

    The first ``prefix`` columns are seen by all.
    """
    position = torch.arange(length, device=device)
    distance = position[:, None] - position[None, :]
    seen = distance >= 0 if causal else torch.ones_like(distance, dtype=torch.bool)
    if window is not None:
        seen = seen & (distance.abs() < window)
    return F.pad(seen, (prefix, 0), value=True) if prefix else seen
