"""Best of ``n`` answers by a reward, and what choosing them brings:

    one sample   mean of R(y)           best of n   mean over prompts of max_{i ≤ n} R(y_i)

How far the best of ``n`` diverges from a single sample is at most ``log n − (n−1)/n`` nats (Beirami et al. 2024, arXiv
2401.01879, theorem 1), which is why it is the strong and honest baseline of every reinforcement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tunesmith.metrics.intervals import Estimate, mean_interval, paired_difference
from tunesmith.rewards.build import WeightedRewards
from tunesmith.rollouts.groups import Asking, Group, score
from tunesmith.rollouts.questions import Question
from tunesmith.seed import derive


@dataclass(frozen=True)
class Chosen:
    """The best answer to a question: its place in ``group``, and the rewards of all."""

    group: Group
    rewards: Sequence[float]

    @property
    def best(self) -> int:
        """The place of the answer with the highest reward, the first of several."""
        return int(np.argmax(self.rewards))


@dataclass(frozen=True)
class BestOf:
    """``one`` is the mean reward of a single sample, ``best`` that of the best of ``n``, ``gain`` their difference in
    pairs by prompt; ``kl_bound`` in nats."""

    n: int
    one: Estimate
    best: Estimate
    gain: Estimate
    kl_bound: float
    chosen: Sequence[Chosen]


def best_of(
    asking: Asking, questions: Sequence[Question], rewards: WeightedRewards, *, n: int, seed: int = 0
) -> BestOf:
    """Answer every one of ``questions`` ``n`` times and take the best by ``rewards``."""
    seeds = [[derive(seed, "best-of", at, number) for number in range(n)] for at in range(len(questions))]
    groups = asking.ask(questions, seeds)
    scores = np.array(score(groups, rewards).total, dtype=np.float64).reshape(-1, n)
    single, best = scores.mean(axis=1), scores.max(axis=1)
    chosen = [Chosen(group, row) for group, row in zip(groups, scores.tolist(), strict=True)]
    bound = math.log(n) - (n - 1) / n
    return BestOf(n, mean_interval(single), mean_interval(best), paired_difference(single, best), bound, chosen)
