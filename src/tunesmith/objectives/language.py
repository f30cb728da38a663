"""What objectives that predict the next token share: the model's own vocabulary, and the loss over its tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.data import Record
from tunesmith.contracts.objective import TaskHead, Term
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.data.collate import flatten
from tunesmith.objectives import token_loss
from tunesmith.recipe.base import PartConfig


class Language(PartConfig):
    """Next-token prediction."""

    want: ClassVar[Want] = Want(logprob=True)
    unit: ClassVar[str] = "sequences"

    def head(self) -> TaskHead | None:
        """The model's own vocabulary."""
        return None

    def learn(self, records: Iterable[Record], *, max_tokens: int) -> Mapping[str, Any]:
        """Nothing is decided by rows."""
        return {}

    def collate(self, examples: Sequence[Example]) -> Batch:
        """A flat micro-batch."""
        return flatten(examples)

    def counts(self, examples: Sequence[Example]) -> Mapping[str, float]:
        """Trained tokens of the update."""
        return token_loss.counts(examples)

    def loss(self, outputs: Outputs, batch: Batch) -> list[Term]:
        """Summed negative log-likelihood of each sequence."""
        return token_loss.loss(outputs, batch)
