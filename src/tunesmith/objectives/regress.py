"""Regression: a number for a text (or a pair of texts), by the mean squared error

    L = Σ_i (s_i − y_i)² / n .

The numbers are learned as they are written; divide large ones in the data, for the score starts near 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.data import Encoder, Encoding, Record
from tunesmith.contracts.objective import TaskHead, Term
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.data.collate import labelled
from tunesmith.data.formats.base import BadRow
from tunesmith.objectives.reading import labels_in, read_whole, summed
from tunesmith.recipe.base import PartConfig

NAME = "squared_error"


class Regress(PartConfig):
    """Predict a number for a text or a pair of texts."""

    NAME: ClassVar[str] = "regress"
    paper: ClassVar[str] = ""
    want: ClassVar[Want] = Want(logprob=False, scores=True)
    unit: ClassVar[str] = "sequences"

    def head(self) -> TaskHead:
        """One score."""
        return TaskHead("number", ("value",))

    def learn(self, records: Iterable[Record], *, max_tokens: int) -> Mapping[str, Any]:
        """Nothing is decided by rows."""
        return {}

    def encode(self, record: Record, encoder: Encoder) -> list[Encoding]:
        """The text with its number, whose float32 bits travel as an int32 label."""
        import numpy as np

        names = labels_in(record)
        if len(names) != 1:
            raise BadRow(f"the row has {len(names)} labels, and one number is wanted")
        try:
            value = float(names[0])
        except ValueError:
            raise BadRow(f"the label '{names[0]}' is no number") from None
        if not math.isfinite(value):
            raise BadRow(f"the label '{names[0]}' is no finite number")
        return [read_whole(record, encoder, [int(np.float32(value).view(np.int32))])]

    def collate(self, examples: Sequence[Example]) -> Batch:
        """A flat micro-batch; labels float32 ``[N]``."""
        import numpy as np
        import torch

        bits = np.concatenate([example.labels for example in examples if example.labels is not None])
        return labelled(examples, labels=torch.from_numpy(bits.astype(np.int32).view(np.float32)))

    def counts(self, examples: Sequence[Example]) -> Mapping[str, float]:
        """Texts of the update."""
        return {NAME: float(len(examples))}

    def loss(self, outputs: Outputs, batch: Batch) -> list[Term]:
        """The squared error of each text."""
        assert outputs.scores is not None
        return summed(NAME, (outputs.scores[:, 0] - batch.readout.labels).square(), batch)
