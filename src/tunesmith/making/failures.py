"""Failure mining: cases that a model got wrong become rows for the next round.

The right answer of the row is what to imitate, and it is preferred over what the model said (a pair). A case is wrong
where ``metric`` of the answer is below ``below``, or where rewards are named, where their sum is.

The trap: the rows of a run's last exam were held out. Once they are trained on, no score on them means anything; rows
given with ``--rows`` are asked of the model anew, and the exam stays one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from pydantic import Field

from tunesmith.errors import UserError, did_you_mean
from tunesmith.making.base import EMPTY, TOO_LONG, Made, Maker, Making, Parent, Rewards, Work, question_of
from tunesmith.making.rows import pair_row, sft_row
from tunesmith.metrics.table import METRICS
from tunesmith.rewards.build import WeightedRewards, build_rewards
from tunesmith.rollouts.questions import sample_of

RIGHT = "the answer is right"
NO_REFERENCE = "the row has no right answer"
Metric = Callable[[str, str], float]


@dataclass(frozen=True)
class Case:
    """What a model said to a row; None where the row was too long to be asked."""

    parent: Parent
    answer: str | None

    @property
    def right(self) -> str | None:
        """The right answer as it is to be imitated: the row's own turn, its best candidate, or its column of right
        answers."""
        record = self.parent.record
        turns = record.candidates[0].messages if len(record.candidates) > 1 else record.messages or ()
        if turns and turns[-1].role == "assistant":
            return turns[-1].content
        return sample_of(self.parent.record).reference


class Failures(Maker):
    """Collect what a model answered wrongly: the right answers to imitate, and pairs of right over wrong."""

    NAME: ClassVar[str] = "failures"
    units: ClassVar[str] = "answers"

    temperature: Annotated[float, Field(ge=0.0)] = 0.0
    """Temperature of answers to `--rows`; 0 takes the most likely token."""
    metric: str = "exact_match"
    """What says how right an answer is: `exact_match`, `f1`."""
    rewards: Rewards = []
    """Rewards in place of the metric (`tunesmith rewards`)."""
    below: float = 1.0
    """An answer that scores less than this is wrong."""

    def ready(self, work: Work) -> Making:
        """Each parent comes with the model's answer and its scores."""
        if not self.rewards and self.metric not in METRICS:
            raise UserError(
                "unknown metric",
                got=f"'{self.metric}'",
                allowed=list(METRICS),
                hint=did_you_mean(self.metric, METRICS),
                code="unknown-metric",
            )
        rewards = build_rewards(self.rewards, open_scorer=work.open_scorer) if self.rewards else None
        if rewards is not None:
            rewards.require_rows([sample_of(parent.record) for parent in work.parents])

        def make(numbers: Sequence[int]) -> list[Made]:
            cases = self._cases([work.parents[number] for number in numbers], numbers, work)
            scores = _scores(cases, METRICS.load(self.metric) if rewards is None else rewards)
            return [self._made(case, score) for case, score in zip(cases, scores, strict=True)]

        return Making(len(work.parents), make, lambda number: work.parents[number].text)

    def _cases(self, parents: Sequence[Parent], numbers: Sequence[int], work: Work) -> list[Case]:
        """Each parent with what the model said: when its run was judged, or now."""
        asked = [at for at, parent in enumerate(parents) if parent.answer is None]
        said = {at: Case(parent, parent.answer or "") for at, parent in enumerate(parents)}
        if asked:
            questions = [question_of(parents[at], self.seeds("answer", numbers[at]), work.writer) for at in asked]
            answers = work.writer.write(questions, sampling=self.sampling, max_new_tokens=self.max_new_tokens)
            said |= {
                at: Case(parents[at], None if answer is None else answer[0].text)
                for at, answer in zip(asked, answers, strict=True)
            }
        return [said[at] for at in range(len(parents))]

    def _made(self, case: Case, score: float | None) -> Made:
        if case.answer is None:
            return Made(dropped=[TOO_LONG])
        if case.right is None or score is None:
            return Made(dropped=[NO_REFERENCE])
        measured = {"right": float(score >= self.below)}
        if score >= self.below:
            return Made(dropped=[RIGHT], measured=measured)
        parent, right = case.parent, case.right
        made = {**parent.origin(self.NAME), "wrong": case.answer, "score": score}
        row, wrong = sft_row(parent.record, right, made), case.answer.strip()
        if not wrong:
            return Made([row], dropped=[f"no pair: {EMPTY}"], measured=measured)
        if wrong == right.strip():
            return Made([row], dropped=["no pair: the answer is the right one, word for word"], measured=measured)
        return Made([row], [pair_row(parent.record, right, wrong, made)], measured=measured)


def _scores(cases: Sequence[Case], judge: Metric | WeightedRewards) -> list[float | None]:
    """How right each answer is; None where nobody can say."""
    if isinstance(judge, WeightedRewards):
        return list(
            judge.score([replace(sample_of(case.parent.record), answer=case.answer or "") for case in cases]).total
        )
    return [None if case.right is None else judge(case.answer or "", case.right) for case in cases]
