"""Continued pretraining: predict every token of plain documents (Gururangan et al. 2020, "Don't stop pretraining").

Documents keep their boundaries: each is its own sequence and ends with the model's end-of-text token; longer ones are
split into pieces of ``data.max_tokens``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.data import Encoder, Encoding, Record
from tunesmith.contracts.objective import Term
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.data.collate import flatten
from tunesmith.objectives import token_loss
from tunesmith.recipe.base import PartConfig


class Pretrain(PartConfig):
    """Predict every token of plain text."""

    NAME: ClassVar[str] = "pretrain"
    paper: ClassVar[str] = "Gururangan et al. 2020, Don't Stop Pretraining (arXiv 2004.10964)"
    want: ClassVar[Want] = Want(logprob=True)
    unit: ClassVar[str] = "sequences"

    max_piece: int | None = None
    """Split documents into pieces of this many tokens; by default `data.max_tokens`."""

    def encode(self, record: Record, encoder: Encoder) -> list[Encoding]:
        """Plain text in pieces; a conversation is rendered and learned whole."""
        if record.text is None:
            return encoder.conversation(record, "everything")
        return encoder.text(record.text, max_tokens=self.max_piece)

    def collate(self, examples: Sequence[Example]) -> Batch:
        """A flat micro-batch."""
        return flatten(examples)

    def counts(self, examples: Sequence[Example]) -> Mapping[str, float]:
        """Trained tokens of the update."""
        return token_loss.counts(examples)

    def loss(self, outputs: Outputs, batch: Batch) -> list[Term]:
        """Summed negative log-likelihood of each piece."""
        return token_loss.loss(outputs, batch)
