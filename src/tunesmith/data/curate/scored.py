"""Rows measured by a score of their answers: the base of reward models and judges."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from tunesmith.contracts.reward import Reward
from tunesmith.data.curate.base import Item
from tunesmith.data.curate.measured import MeasuredStep, sample_of


class ScoredStep(MeasuredStep):
    """Base of steps that score answers."""

    @cached_property
    def _reward(self) -> Reward:
        return self.opened()

    def opened(self) -> Reward:
        """What scores."""
        raise NotImplementedError

    def measure(self, items: Sequence[Item]) -> Sequence[float | None]:
        """The scores of rows with a question and an answer."""
        asked = {place: sample for place, item in enumerate(items) if (sample := sample_of(item)) is not None}
        scores = dict(zip(asked, self._reward.score(list(asked.values())), strict=True)) if asked else {}
        return [scores.get(place) for place in range(len(items))]
