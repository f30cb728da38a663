"""Examples to one flat micro-batch: no padding, one loss-carrying prediction for every target.

Language models: token ``i`` of a sequence is predicted by row ``i - 1``; a sequence's first token has no row before it
and is never a label, and no row of one sequence predicts a token of another. Labelled examples: a target's own row is
read.
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
    trained = flat.trained & (flat.positions > 0)
    targets = np.flatnonzero(trained)
    readout = Readout(
        rows=torch.from_numpy(targets - 1),
        labels=torch.from_numpy(flat.ids[targets]),
        weights=torch.ones(len(targets)),
        unit=torch.from_numpy(flat.segment[targets]),
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
        unit=torch.from_numpy(flat.segment[rows]),
    )
    return _batch(examples, flat, readout)


@dataclass(frozen=True)
class _Flat:
    """Arrays ``[T]``."""

    lengths: list[int]
    ids: NDArray[np.int64]
    segment: NDArray[np.int64]
    positions: NDArray[np.int64]
    trained: NDArray[np.bool_]


def _flat(examples: Sequence[Example]) -> _Flat:
    lengths = [len(example) for example in examples]
    segment = np.repeat(np.arange(len(examples)), lengths)
    starts = np.cumsum([0, *lengths[:-1]])
    ids = np.concatenate([example.ids for example in examples]).astype(np.int64)
    trained = np.concatenate([example.trained for example in examples])
    return _Flat(lengths, ids, segment, np.arange(len(ids)) - starts[segment], trained)


def _batch(examples: Sequence[Example], flat: _Flat, readout: Readout) -> Batch:
    import torch

    starts = torch.from_numpy(np.cumsum([0, *flat.lengths]).astype(np.int64))
    types = None
    if any(example.second for example in examples):
        second = np.array([example.second or len(example) for example in examples])
        types = torch.from_numpy((flat.positions >= second[flat.segment]).astype(np.int64))
    return Batch(
        main=Stream(
            torch.from_numpy(flat.ids), torch.from_numpy(flat.positions), Layout(starts, tuple(flat.lengths)), types
        ),
        readout=readout,
        unit_ids=torch.tensor([example.row for example in examples], dtype=torch.int64),
        sources=torch.tensor([example.source for example in examples], dtype=torch.int64),
    )
