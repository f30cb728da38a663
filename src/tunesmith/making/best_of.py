"""Best of ``n`` answers, or rejection sampling: answers are scored, the best is imitated, the worst is its opposite.

    y* = argmax_{i ≤ n} R(x, y_i)        kept where R(x, y*) ≥ threshold

(RAFT: Dong et al. 2023, arXiv 2304.06767, algorithm 1; STaR with a right/wrong reward: Zelikman et al. 2022,
arXiv 2203.14465.)

The trap: answers that were cut off look like any text, and imitated they teach to stop in the middle of a sentence.
They are scored, may be the worst, and are never the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Annotated, ClassVar

from pydantic import Field

from tunesmith.making.author import Written
from tunesmith.making.base import CUT, EMPTY, TOO_LONG, Count, Made, Maker, Making, Parent, Rewards, Work, question_of
from tunesmith.making.rows import pair_row, sft_row
from tunesmith.rewards.build import WeightedRewards, build_rewards
from tunesmith.rollouts.questions import sample_of

BELOW = "no whole answer reaches the threshold"
ALIKE = "no pair: no answer is worse by the margin"


class BestOf(Maker):
    """Answer each prompt several times and keep the best answer by rewards, and with it the worst as a pair."""

    NAME: ClassVar[str] = "best-of"
    paper: ClassVar[str] = "Dong et al. 2023, RAFT (arXiv 2304.06767)"

    rewards: Rewards
    """What is good about an answer: names of rewards (`tunesmith rewards`), or `{name: …, weight: …}`."""
    n: Annotated[int, Field(ge=1)] = 8
    """Answers to each prompt."""
    threshold: float | None = None
    """The least reward of an answer that is kept; by default the best is kept whatever it is."""
    margin: Annotated[float, Field(ge=0.0)] = 0.0
    """By how much more than this the rewards of a pair must differ."""
    together: Count = 32
    """Prompts answered at the same time."""

    def ready(self, work: Work) -> Making:
        """Rewards are opened, and rows that they can never score are refused, before anything is asked."""
        rewards = build_rewards(self.rewards, open_scorer=work.open_scorer)
        rewards.require_rows([sample_of(parent.record) for parent in work.parents])

        def make(numbers: Sequence[int]) -> list[Made]:
            return self._made([work.parents[number] for number in numbers], numbers, work, rewards)

        return Making(len(work.parents), make, lambda number: work.parents[number].text, together=self.together)

    def _made(
        self, parents: Sequence[Parent], numbers: Sequence[int], work: Work, rewards: WeightedRewards
    ) -> list[Made]:
        questions = [
            question_of(parent, self.seeds("answer", number, self.n), work.writer)
            for parent, number in zip(parents, numbers, strict=True)
        ]
        answered = work.writer.write(questions, sampling=self.sampling, max_new_tokens=self.max_new_tokens)
        samples = [
            replace(sample_of(parent.record), answer=one.text, truncated=not one.whole, tokens=one.tokens)
            for parent, answers in zip(parents, answered, strict=True)
            for one in answers or ()
        ]
        scores = iter(rewards.score(samples).total)
        return [
            Made(dropped=[TOO_LONG])
            if answers is None
            else self._chosen(parent, [Scored(one, next(scores)) for one in answers])
            for parent, answers in zip(parents, answered, strict=True)
        ]

    def _chosen(self, parent: Parent, answers: Sequence[Scored]) -> Made:
        one, best_of = fmean(each.score for each in answers), max(each.score for each in answers)
        measured = {"reward_of_one": one, "reward_of_best": best_of, "gain": best_of - one}
        usable = [one for one in answers if one.written.whole and one.written.text]
        if not usable:
            cut = any(one.written.text for one in answers)
            return Made(dropped=[CUT if cut else EMPTY], measured=measured)
        best = max(usable, key=lambda one: one.score)
        if self.threshold is not None and best.score < self.threshold:
            return Made(dropped=[BELOW], measured=measured)
        made = {**parent.origin(self.NAME), "n": self.n, "score": best.score}
        row = sft_row(parent.record, best.written.text, made)
        others = [one for one in answers if one.written.text and best.score - one.score > self.margin]
        if not others:
            return Made([row], dropped=[ALIKE], measured=measured)
        worst = min(others, key=lambda one: one.score)
        pair = pair_row(parent.record, best.written.text, worst.written.text, made)
        pair |= {"score_chosen": best.score, "score_rejected": worst.score}
        return Made([row], [pair], measured=measured)


@dataclass(frozen=True)
class Scored:
    """An answer and its reward."""

    written: Written
    score: float
