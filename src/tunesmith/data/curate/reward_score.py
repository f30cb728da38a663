"""Answers scored by a reward model that was trained here (the reward ``model``).

The trap: reward models like long answers; look at the lengths of what stays.
"""

from __future__ import annotations

from typing import ClassVar

from tunesmith.contracts.reward import Reward
from tunesmith.data.curate.needs import model_digest
from tunesmith.data.curate.scored import ScoredStep


class RewardScore(ScoredStep):
    """Drops rows whose answer a reward model scores low."""

    NAME: ClassVar[str] = "reward-score"
    WHAT: ClassVar[str] = "reward"
    paper: ClassVar[str] = "https://arxiv.org/abs/2203.02155"

    model: str
    """The run folder of a model that was trained with the objective `reward`."""

    def fingerprint(self) -> bytes:
        """The model's files."""
        return model_digest(self.model)

    def opened(self) -> Reward:
        """The reward model."""
        return self.models.reward(self.model)
