"""What objectives that predict the next token share: the loss over its tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.objective import Judged, Term
from tunesmith.contracts.policy import Outputs
from tunesmith.objectives import token_loss
from tunesmith.objectives.base import ObjectiveConfig


class Language(ObjectiveConfig):
    """Next-token prediction."""

    judged: ClassVar[Judged] = "tokens"

    def counts(self, examples: Sequence[Example]) -> Mapping[str, float]:
        """Trained tokens of the update."""
        return token_loss.counts(examples)

    def loss(self, outputs: Outputs, batch: Batch) -> list[Term]:
        """Summed negative log-likelihood of each sequence."""
        return token_loss.loss(outputs, batch)
