"""A reward model's score. The model is opened by ``run``, which hands in a function: this folder loads none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tunesmith.contracts.reward import OpenScorer, Reward, Sample, Scorer
from tunesmith.errors import UserError
from tunesmith.rewards.base import RewardConfig, require_scores


class Model(RewardConfig):
    """What a reward model says of prompt and answer: the number of its head, uncentred and unscaled."""

    NAME: ClassVar[str] = "model"
    paper: ClassVar[str] = "Ouyang et al. 2022, arXiv:2203.02155"

    path: str
    """The run folder (or model folder) of a model trained with a reward objective."""

    def ready(self, open_scorer: OpenScorer | None) -> Reward:
        """The loaded model."""
        if open_scorer is None:
            raise UserError(
                "the reward model can only be used inside a run, which loads its model",
                got=self.path,
                hint="In Python pass build_rewards(…, open_scorer=a function from the path to what scores).",
                code="no-reward-model",
            )
        return Opened(open_scorer(self.path))


@dataclass(frozen=True)
class Opened:
    """A reward model that is loaded."""

    scorer: Scorer

    def score(self, samples: Sequence[Sample]) -> list[float]:
        """One number a sample."""
        return require_scores(Model.NAME, samples, self.scorer(samples))
