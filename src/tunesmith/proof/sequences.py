"""The whole sequences of a flat batch: which rows each is made of, and which token a readout row predicts.

An answer's sequence is the beginning that it shares, then its own segment; its first token is predicted by the
beginning's last row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch

from tunesmith.contracts.batch import Batch, Example, Layout


@dataclass(frozen=True)
class Whole:
    """Rows of the stream that make up a sequence: a ``beginning`` (empty where it shares none) and its ``own``."""

    beginning: slice
    own: slice

    def rows(self) -> list[int]:
        """All its rows, in order."""
        return [*range(self.beginning.start, self.beginning.stop), *range(self.own.start, self.own.stop)]

    def place(self, row: int) -> int:
        """Where a row of the stream stands in the sequence."""
        before = self.beginning.stop - self.beginning.start
        inside = self.own.start <= row < self.own.stop
        return row - self.own.start + before if inside else row - self.beginning.start

    def predicted(self, row: int) -> int:
        """The row of the token that ``row`` predicts."""
        return row + 1 if self.own.start <= row < self.own.stop else self.own.start


def wholes(layout: Layout) -> list[Whole]:
    """The sequences of a stream, in their order."""
    edges = list(accumulate(layout.lengths, initial=0))
    runs = [slice(start, stop) for start, stop in pairwise(edges)]
    parents = layout.parents or (-1,) * len(runs)
    beginnings = {parent for parent in parents if parent >= 0}
    return [
        Whole(runs[parent] if parent >= 0 else slice(0, 0), run)
        for number, (run, parent) in enumerate(zip(runs, parents, strict=True))
        if number not in beginnings
    ]


def example_rows(batch: Batch) -> list[range]:
    """The rows of each example, which stand together."""
    found: dict[int, list[int]] = {}
    for group, whole in zip(batch.groups.tolist(), wholes(batch.main.layout), strict=True):
        found.setdefault(group, []).extend(whole.rows())
    return [range(min(found[group]), max(found[group]) + 1) for group in range(batch.examples)]


def predicted(batch: Batch) -> torch.Tensor:
    """``[N]``: the row of the token that each readout row predicts."""
    sequences = wholes(batch.main.layout)
    pairs = zip(batch.readout.rows.tolist(), batch.readout.unit.tolist(), strict=True)
    return torch.tensor([sequences[unit].predicted(row) for row, unit in pairs], dtype=torch.int64)


def unshared(examples: Sequence[Example]) -> list[Example]:
    """Each answer of ``examples`` as a sequence of its own, with the beginning repeated."""
    from dataclasses import replace

    import numpy as np

    found = []
    for example in examples:
        begin = example.branches[0] if example.branches else 0
        labels, read = example.labels, 0
        for start, end in pairwise((*(example.branches or (0,)), len(example))):
            pieces = (slice(0, begin), slice(start, end))
            ids, trained = (np.concatenate([array[one] for one in pieces]) for array in (example.ids, example.trained))
            own = labels
            if labels is not None and example.branches:
                count = int(trained.sum())
                own, read = labels[read : read + count], read + count
            found.append(replace(example, ids=ids, trained=trained, labels=own, branches=()))
    return found
