"""From examples to a flat micro-batch: the tokens one after the other, and which predictions carry loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from tunesmith.contracts.batch import Batch, Example, Layout, Readout, Stream


def flatten(examples: Sequence[Example]) -> Batch:
    """One stream of all tokens; trained token ``i`` of a sequence is read out at row ``i − 1``.

    A sequence's first token has nothing before it and is never read out. Positions restart at 0 in every sequence,
    weights are 1, and a unit is a sequence.
    """
    lengths = tuple(len(example) for example in examples)
    starts = np.cumsum([0, *lengths])
    ids = np.concatenate([example.ids for example in examples]).astype(np.int64)
    positions = np.concatenate([np.arange(length) for length in lengths])
    trained = np.concatenate([example.trained for example in examples])
    trained[starts[:-1]] = False
    labels_at = np.flatnonzero(trained)
    unit = np.searchsorted(starts, labels_at, side="right") - 1
    readout = Readout(
        rows=torch.from_numpy(labels_at - 1),
        labels=torch.from_numpy(ids[labels_at]),
        weights=torch.ones(len(labels_at)),
        unit=torch.from_numpy(unit),
    )
    layout = Layout(torch.from_numpy(starts), lengths)
    return Batch(
        main=Stream(torch.from_numpy(ids), torch.from_numpy(positions), layout),
        readout=readout,
        unit_ids=torch.tensor([example.row for example in examples]),
        sources=torch.tensor([example.source for example in examples]),
    )
