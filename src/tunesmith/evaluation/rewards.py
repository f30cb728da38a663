"""Held-out prompts answered by the model and scored by rewards: what learning from rewards is judged by.

A prompt's reward is the mean over its answers; prompts are the units of intervals and of paired comparisons. Greedy
answers by default: what a user of the model would see. The validation loss of a run that raises rewards is minus the
reward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tunesmith.errors import UserError
from tunesmith.evaluation.loss import content_of
from tunesmith.evaluation.terms import LOSS, TermReport, TermSums
from tunesmith.rewards.build import WeightedRewards
from tunesmith.rollouts.groups import Asking, Group, score
from tunesmith.rollouts.questions import Question
from tunesmith.seed import derive

REWARD = "reward"


@dataclass(frozen=True)
class RewardReport(TermReport):
    """``reward``, its parts as ``reward_<name>`` where there are several, the judge's as ``judge_<name>``,
    ``answer_tokens`` and ``stopped`` (share of answers that ended by themselves), with 95% intervals over prompts."""

    def values(self) -> dict[str, float]:
        """The numbers alone, as training watches them; the loss is minus the reward."""
        found = {name: self.sums.value(name) for name in self.sums.values}
        return {LOSS: -found[REWARD], **found}


def evaluate_rewards(
    asking: Asking,
    questions: Sequence[Question],
    rewards: WeightedRewards,
    *,
    judge: WeightedRewards | None = None,
    answers: int = 1,
    seed: int = 0,
) -> RewardReport:
    """Answer every one of ``questions`` ``answers`` times and score the answers.

    Raises ``UserError``: ``no-prompts``, and what sampler and rewards raise.
    """
    if not questions:
        raise UserError("there is no held-out prompt to answer", hint="Set data.validation.", code="no-prompts")
    seeds = [[derive(seed, "held-out", at, number) for number in range(answers)] for at in range(len(questions))]
    groups = asking.ask(questions, seeds)
    values = _values(groups, rewards, judge)
    per_prompt = {
        name: np.array(one, dtype=np.float64).reshape(-1, answers).mean(axis=1) for name, one in values.items()
    }
    examples = [question.example for question in questions]
    sums = TermSums(
        values=per_prompt,
        counts={name: np.ones(len(examples)) for name in per_prompt},
        weights={},
        lower_is_better=frozenset(),
        undirected=frozenset({"answer_tokens"}),
        sources=np.array([example.source for example in examples], dtype=np.int64),
        content=np.array([content_of(example) for example in examples], dtype=np.int64),
    )
    return RewardReport(sums)


def _values(
    groups: Sequence[Group], rewards: WeightedRewards, judge: WeightedRewards | None
) -> Mapping[str, Sequence[float]]:
    """Of all answers in turn."""
    scores = score(groups, rewards)
    found: dict[str, Sequence[float]] = {REWARD: scores.total}
    if len(scores.parts) > 1:
        found |= {f"{REWARD}_{name}": values for name, values in scores.parts.items()}
    if judge is not None:
        found |= {f"judge_{name}": values for name, values in score(groups, judge).parts.items()}
    samples = [sample for group in groups for sample in group.samples]
    found["answer_tokens"] = [float(sample.tokens) for sample in samples]
    found["stopped"] = [float(not sample.truncated) for sample in samples]
    return found
