"""Examples to one flat micro-batch: no padding, one loss-carrying prediction for every target.

Language models: token ``i`` of a sequence is predicted by row ``i - 1``; a sequence's first token has no row before it
and is never a label, and no row of one sequence predicts a token of another. Labelled examples: a target's own row is
read.

An example with branches becomes a segment for its beginning and one for each answer, whose parent the beginning is:
an answer's first token is predicted by the beginning's last row.

Shape legend: ``T`` tokens, ``S`` segments, ``U`` sequences (whole texts: answers with their beginning), ``N`` targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tunesmith.contracts.batch import Batch, Example, Layout, Readout, Stream

if TYPE_CHECKING:
    import torch


def flatten(examples: Sequence[Example]) -> Batch:
    """One stream of ``examples`` in their order; unit = sequence, every weight 1."""
    import torch  # worker processes tokenise without it

    flat = _flat(examples)
    targets = np.flatnonzero(flat.trained & (flat.before >= 0))
    readout = Readout(
        rows=torch.from_numpy(flat.before[targets]),
        labels=torch.from_numpy(flat.ids[targets]),
        weights=torch.ones(len(targets)),
        unit=torch.from_numpy(flat.sequence[targets]),
    )
    return _batch(examples, flat, readout)


def labelled(
    examples: Sequence[Example], labels: torch.Tensor | None = None, weights: torch.Tensor | None = None
) -> Batch:
    """One stream of labelled ``examples``: every marked row is read.

    ``labels`` ``[N, ...]`` and ``weights`` float32 ``[N]`` belong to the marked rows in their order; by default the
    examples' own labels (one a row) and 1.
    """
    import torch

    flat = _flat(examples)
    rows = np.flatnonzero(flat.trained)
    if labels is None:
        own = [example.labels for example in examples if example.labels is not None]
        labels = torch.from_numpy(np.concatenate(own).astype(np.int64))
    readout = Readout(
        rows=torch.from_numpy(rows),
        labels=labels,
        weights=torch.ones(len(rows)) if weights is None else weights,
        unit=torch.from_numpy(flat.sequence[rows]),
    )
    return _batch(examples, flat, readout)


@dataclass(frozen=True)
class _Segment:
    """A run of tokens: its ``sequence`` (of a beginning: the first of its answers), and the segment it goes on from."""

    length: int
    sequence: int
    parent: int = -1


@dataclass(frozen=True)
class _Flat:
    """Arrays ``[T]``; ``before`` is the row that predicts a token, -1 where there is none."""

    segments: list[_Segment]
    ids: NDArray[np.int64]
    sequence: NDArray[np.int64]
    positions: NDArray[np.int64]
    before: NDArray[np.int64]
    trained: NDArray[np.bool_]


def _segments(examples: Sequence[Example]) -> list[_Segment]:
    found: list[_Segment] = []
    sequence = 0
    for example in examples:
        branches = example.branches or (0,)
        parent = -1
        if branches[0] > 0:
            parent = len(found)
            found.append(_Segment(branches[0], sequence))
        for start, end in zip(branches, (*branches[1:], len(example)), strict=True):
            found.append(_Segment(end - start, sequence, parent))
            sequence += 1
    return found


def _flat(examples: Sequence[Example]) -> _Flat:
    segments = _segments(examples)
    lengths = [one.length for one in segments]
    parents = np.array([one.parent for one in segments])
    starts = np.cumsum([0, *lengths])
    segment = np.repeat(np.arange(len(segments)), lengths)
    # a segment's positions, and the row before its first, go on from its parent
    first = np.where(parents >= 0, starts[parents + 1] - starts[parents], 0)
    rows = np.arange(starts[-1])
    before = rows - 1
    before[starts[:-1]] = np.where(parents >= 0, starts[parents + 1] - 1, -1)
    return _Flat(
        segments,
        ids=np.concatenate([example.ids for example in examples]).astype(np.int64),
        sequence=np.array([one.sequence for one in segments])[segment],
        positions=rows - starts[segment] + first[segment],
        before=before,
        trained=np.concatenate([example.trained for example in examples]),
    )


def _batch(examples: Sequence[Example], flat: _Flat, readout: Readout) -> Batch:
    import torch

    lengths = tuple(one.length for one in flat.segments)
    parents = tuple(one.parent for one in flat.segments)
    layout = Layout(
        starts=torch.from_numpy(np.cumsum([0, *lengths]).astype(np.int64)),
        lengths=lengths,
        parents=parents if any(parent >= 0 for parent in parents) else None,
    )
    sequences = [example.sequences for example in examples]
    groups = np.repeat(np.arange(len(examples)), sequences)
    types = None
    if any(example.second for example in examples):
        second = np.array([example.second or len(example) for example in examples])[groups]
        types = torch.from_numpy((flat.positions >= second[flat.sequence]).astype(np.int64))
    return Batch(
        main=Stream(torch.from_numpy(flat.ids), torch.from_numpy(flat.positions), layout, types),
        readout=readout,
        unit_ids=torch.tensor([example.row for example in examples], dtype=torch.int64)[groups],
        sources=torch.tensor([example.source for example in examples], dtype=torch.int64)[groups],
        groups=torch.from_numpy(groups),
        examples=len(examples),
        extras={
            name: torch.from_numpy(np.concatenate([example.extras[name] for example in examples]))
            for name in examples[0].extras
        },
    )
