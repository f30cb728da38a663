"""Examples to one flat micro-batch: no padding, one loss-carrying prediction for every target.

Token ``i`` of a sequence is predicted by row ``i - 1``; a sequence's first token has no row before it and is never a
label, and no row of one sequence predicts a token of another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tunesmith.contracts.batch import Batch, Example, Layout, Readout, Stream


def flatten(examples: Sequence[Example]) -> Batch:
    """One stream of ``examples`` in their order; unit = sequence, every weight 1."""
    import torch  # worker processes tokenise without it

    lengths = [len(example) for example in examples]
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.concatenate([example.ids for example in examples]).astype(np.int64)
    segment = np.repeat(np.arange(len(examples)), lengths)
    positions = np.arange(len(ids)) - starts[segment]
    trained = np.concatenate([example.trained for example in examples]) & (positions > 0)
    targets = np.flatnonzero(trained)
    layout = Layout(torch.from_numpy(starts), tuple(lengths))
    readout = Readout(
        rows=torch.from_numpy(targets - 1),
        labels=torch.from_numpy(ids[targets]),
        weights=torch.ones(len(targets)),
        unit=torch.from_numpy(segment[targets]),
    )
    return Batch(
        main=Stream(torch.from_numpy(ids), torch.from_numpy(positions), layout),
        readout=readout,
        unit_ids=torch.tensor([example.row for example in examples], dtype=torch.int64),
        sources=torch.tensor([example.source for example in examples], dtype=torch.int64),
    )
