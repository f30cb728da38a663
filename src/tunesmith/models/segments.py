"""How segments of a flat stream are grouped for batched products, and which tokens see which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import torch
import torch.nn.functional as F

ROUNDED = 64
NEAR = 16
"""Tokens of padding that cost less than a bucket of its own does."""


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
    before: Before | None = None
    """the segments' parents, if they have some"""


@dataclass(frozen=True)
class Before:
    """Parents of a bucket's segments, padded on the left to one ``length`` (``Y``), so that distances are true ones.

    ``runs`` are the first row and the length of each; ``rows`` int64 ``[B*(Y+L)]``: a parent's rows (padding repeats
    its first) and the segment's own. ``hidden`` bool ``[B, n]``: which of the first ``n`` columns are padding (``n``:
    the most in any row).
    """

    length: int
    runs: tuple[tuple[int, int], ...]
    rows: torch.Tensor
    hidden: torch.Tensor


@lru_cache(maxsize=64)
def buckets(lengths: tuple[int, ...], parents: tuple[int, ...] | None, device: str) -> tuple[Bucket, ...]:
    """Group segments of similar length, longest first; those with a parent come last, and are of similar length with
    it too.

    Lengths are rounded up to a grid and a bucket's size is a power of two, so that few product shapes exist: CPU
    libraries compile a kernel (and keep a megabyte) for each shape they have not met.
    """
    runs = _runs(lengths)
    parents = parents or (-1,) * len(lengths)
    keys = [len(_behind_parent(runs, parents, segment)) for segment in range(len(runs))]
    groups = _similar([segment for segment, parent in enumerate(parents) if parent < 0], lengths)
    for group in _similar([segment for segment, parent in enumerate(parents) if parent >= 0], lengths):
        groups += _similar(group, keys)
    pieces = [piece for group in groups for piece in _powers_of_two(group)]
    return tuple(
        _bucket([runs[one] for one in piece], [runs[parents[one]] for one in piece if parents[one] >= 0], device)
        for piece in pieces
    )


def grid(length: int) -> int:
    """``length`` rounded up to a multiple of 16, 32 or 64 (at most an eighth of it from 128 on)."""
    step = 16 if length <= 256 else 32 if length <= 512 else 64
    return -(-length // step) * step


def surplus(tokens: int, device: torch.device) -> int:
    """Rows that no segment owns, added to a long stream on a CPU so that few product shapes exist (see ``buckets``).

    They are at most 63, carry no gradient and are cut off again; short streams have none, nor has decoding.
    """
    return -tokens % ROUNDED if device.type == "cpu" and tokens > 4 * ROUNDED else 0


def _similar(segments: Sequence[int], sizes: Sequence[int]) -> list[list[int]]:
    """``segments`` in groups, largest first; on the grid none is smaller than 4/5 of its group's largest, or than that
    by more than ``NEAR``."""
    groups: list[list[int]] = []
    for segment in sorted(segments, key=lambda segment: (-sizes[segment], segment)):
        largest = grid(sizes[groups[-1][0]]) if groups else 0
        if groups and grid(sizes[segment]) >= min(largest * 4 / 5, largest - NEAR):
            groups[-1].append(segment)
        else:
            groups.append([segment])
    return groups


def _powers_of_two(group: list[int]) -> list[list[int]]:
    pieces, start = [], 0
    while start < len(group):
        size = 1 << ((len(group) - start).bit_length() - 1)
        pieces.append(group[start : start + size])
        start += size
    return pieces


def _bucket(segments: list[range], parents: list[range], device: str) -> Bucket:
    first, size = _first_and_size(segments)
    longest = grid(int(size.max()))
    offset = torch.arange(longest)[None, :]
    real = offset < size
    rows = torch.where(real, first + offset, first)
    kept = real.reshape(-1).nonzero().squeeze(1)
    return Bucket(
        size=len(segments),
        length=longest,
        rows=rows.reshape(-1).to(device),
        kept=kept.to(device),
        target=rows.reshape(-1)[kept].to(device),
        lengths=size.squeeze(1).to(device),
        full=bool(real.all()),
        before=_before(parents, rows, device) if parents else None,
    )


def _before(parents: list[range], rows: torch.Tensor, device: str) -> Before:
    first, size = _first_and_size(parents)
    own = rows.shape[1]
    # twice as coarse: a product's shape has one number more than without parents
    longest = 2 * grid(-(-(int(size.max()) + own) // 2)) - own
    padding = longest - size
    offset = torch.arange(longest)[None, :]
    columns = first + (offset - padding).clamp(min=0)
    return Before(
        length=longest,
        runs=tuple((run.start, len(run)) for run in parents),
        rows=torch.cat([columns, rows], dim=1).reshape(-1).to(device),
        hidden=(offset < padding)[:, : int(padding.max())].to(device),
    )


def _first_and_size(runs: list[range]) -> tuple[torch.Tensor, torch.Tensor]:
    first, size = torch.tensor([(run.start, len(run)) for run in runs]).unsqueeze(2).unbind(1)
    return first, size


@dataclass(frozen=True)
class Inserted:
    """Where rows go when the same ``X`` new rows are put in front of every sequence of a stream of ``T`` rows.

    Row ``i`` of the longer stream is row ``source[i]`` of the ``X`` new rows and the ``T`` old ones after them; old row
    ``j`` becomes row ``kept[j]``. ``starts`` int64 ``[S+1]`` and ``lengths`` are the longer segments'. Rows beyond the
    last segment (a stream rounded up in length) stay beyond it. A segment with a parent sees its parent's new rows.
    """

    source: torch.Tensor
    kept: torch.Tensor
    starts: torch.Tensor
    lengths: tuple[int, ...]


@lru_cache(maxsize=64)
def inserted(
    lengths: tuple[int, ...], new: int, rows: int, device: str, *, parents: tuple[int, ...] | None = None
) -> Inserted:
    """The places for ``new`` rows in front of each segment (without a parent) of a stream of ``rows`` rows."""
    sizes = torch.tensor(lengths)
    first = torch.ones_like(sizes) if parents is None else (torch.tensor(parents) < 0).long()
    longer = sizes + new * first
    starts = torch.cat([torch.zeros(1, dtype=torch.long), longer.cumsum(0)])
    before = torch.repeat_interleave(first.cumsum(0), sizes)
    beyond = first.sum().expand(rows - len(before))
    kept = torch.arange(rows) + new * torch.cat([before, beyond])
    source = torch.empty(rows + new * int(first.sum()), dtype=torch.long)
    source[starts[:-1][first > 0, None] + torch.arange(new)] = torch.arange(new)
    source[kept] = new + torch.arange(rows)
    return Inserted(source.to(device), kept.to(device), starts.to(device), tuple(longer.tolist()))


@dataclass(frozen=True)
class Seen:
    """Keys of all segments in turn: rows ``source`` of the ``X`` rows of a prefix and the stream's after them.

    Segment ``s`` sees ``lengths[s]`` of them from ``starts[s]`` on: the prefix, its parent, itself; ``longest`` is the
    most. ``source`` is None where a segment sees itself and no more.
    """

    source: torch.Tensor | None
    starts: torch.Tensor
    lengths: tuple[int, ...]
    longest: int


@lru_cache(maxsize=64)
def seen(lengths: tuple[int, ...], parents: tuple[int, ...] | None, prefix: int, device: str) -> Seen:
    """What each segment sees where a prefix has ``prefix`` rows."""
    runs = _runs(lengths)
    rows = [
        [*range(prefix), *(prefix + row for row in _behind_parent(runs, parents, segment))]
        for segment in range(len(lengths))
    ]
    sizes = tuple(len(one) for one in rows)
    more = prefix > 0 or parents is not None
    return Seen(
        source=torch.tensor([row for one in rows for row in one], device=device) if more else None,
        starts=torch.tensor([0, *accumulate(sizes)], device=device),
        lengths=sizes,
        longest=max(sizes),
    )


@dataclass(frozen=True)
class Whole:
    """A stream whose shared beginnings are repeated, so that its segments are whole sequences.

    Row ``i`` of it is row ``source[i]`` of the stream, row ``j`` of the stream is row ``back[j]`` of it: a beginning's
    rows are read in the first sequence that has it. ``starts`` int64 ``[S+1]`` and ``lengths`` are the sequences'.
    """

    source: torch.Tensor
    back: torch.Tensor
    starts: torch.Tensor
    lengths: tuple[int, ...]


@lru_cache(maxsize=64)
def whole(lengths: tuple[int, ...], parents: tuple[int, ...], device: str) -> Whole:
    """Each segment behind its parent; segments that are parents have no sequence of their own."""
    runs = _runs(lengths)
    sequences = [_behind_parent(runs, parents, segment) for segment in range(len(lengths)) if segment not in parents]
    source = [row for sequence in sequences for row in sequence]
    places: dict[int, int] = {}
    for place, row in enumerate(source):
        places.setdefault(row, place)
    sizes = tuple(len(sequence) for sequence in sequences)
    return Whole(
        source=torch.tensor(source, device=device),
        back=torch.tensor([places[row] for row in range(sum(lengths))], device=device),
        starts=torch.tensor([0, *accumulate(sizes)], device=device),
        lengths=sizes,
    )


def _runs(lengths: Sequence[int]) -> list[range]:
    """The rows of each segment."""
    starts = accumulate(lengths, initial=0)
    return [range(start, start + length) for start, length in zip(starts, lengths, strict=False)]


def _behind_parent(runs: Sequence[range], parents: Sequence[int] | None, segment: int) -> list[int]:
    """The rows of ``segment`` behind those of its parent."""
    parent = -1 if parents is None else parents[segment]
    return [*(runs[parent] if parent >= 0 else ()), *runs[segment]]


def visible(
    length: int,
    *,
    causal: bool,
    window: int | None,
    device: torch.device | str,
    parent: int = 0,
    prefix: int = 0,
) -> torch.Tensor:
    """Bool ``[length, prefix + parent + length]``: row i sees column j. A window of W counts the token itself.

    The first ``prefix`` columns are seen by all; the rows go on from the ``parent`` columns after them.
    """
    position = torch.arange(-parent, length, device=device)
    distance = position[parent:, None] - position[None, :]
    seen = distance >= 0 if causal else torch.ones_like(distance, dtype=torch.bool)
    if window is not None:
        seen = seen & (distance.abs() < window)
    return F.pad(seen, (prefix, 0), value=True) if prefix else seen
