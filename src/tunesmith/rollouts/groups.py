"""Questions to groups of scored answers, and groups to examples: one prompt with all its answers, computed once.

Shape legend: ``A`` answers of all groups in turn, ``N`` their tokens in turn (a stop token is the last of its answer).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from tunesmith.contracts.batch import Example
from tunesmith.contracts.reward import Sample, Scores
from tunesmith.contracts.sampler import Answer, Ask, Sampler, Sampling
from tunesmith.errors import UserError
from tunesmith.objectives.advantages import Floats, Ints
from tunesmith.rewards.build import WeightedRewards
from tunesmith.rollouts.questions import Question

Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True)
class Group:
    """The answers to one question, with what rewards see of each."""

    question: Question
    answers: Sequence[Answer]
    samples: Sequence[Sample]

    @property
    def tokens(self) -> list[list[int]]:
        """What was sampled, the stop token included."""
        return [tokens_of(answer) for answer in self.answers]


@dataclass(frozen=True)
class Asking:
    """How questions are answered: by whom, how drawn, how long at most."""

    sampler: Sampler
    decode: Decode
    sampling: Sampling
    max_new_tokens: int
    stop: tuple[str, ...] = ()
    logprobs: bool = False

    def ask(self, questions: Sequence[Question], seeds: Sequence[Sequence[int]]) -> list[Group]:
        """An answer for every seed of every question.

        Raises ``UserError``: ``no-token`` where an answer is not even a stop token, and what the sampler raises.
        """
        asks = [
            Ask(question.ids, own, self.sampling, max_new_tokens=self.max_new_tokens, stop=self.stop)
            for question, own in zip(questions, seeds, strict=True)
        ]
        answered = self.sampler.sample(asks, logprobs=self.logprobs)
        return [self._group(question, answers) for question, answers in zip(questions, answered, strict=True)]

    def _group(self, question: Question, answers: Sequence[Answer]) -> Group:
        return Group(question, answers, [self._sample(question, answer) for answer in answers])

    def _sample(self, question: Question, answer: Answer) -> Sample:
        tokens = tokens_of(answer)
        if not tokens:
            raise UserError(
                "the sampler gave an answer without a single token, which nothing can be learned from",
                got=f"the question '{question.sample.prompt[:60]}'",
                hint="A server must return the stop token's id with the answer.",
                code="no-token",
            )
        text = self.decode(answer.ids) if answer.text is None else answer.text
        return replace(question.sample, answer=text, truncated=not answer.stopped, tokens=len(tokens))


def tokens_of(answer: Answer) -> list[int]:
    """An answer's tokens with the stop token that ended it."""
    return [*answer.ids, answer.stop] if isinstance(answer.stop, int) else list(answer.ids)


def score(groups: Sequence[Group], rewards: WeightedRewards) -> Scores:
    """The rewards of all answers ``[A]``."""
    return rewards.score(list(chain.from_iterable(group.samples for group in groups)))


def group_numbers(groups: Sequence[Group]) -> Ints:
    """The group of each answer ``[A]``."""
    return np.repeat(np.arange(len(groups)), [len(group.answers) for group in groups])


def lengths_of(groups: Sequence[Group]) -> Ints:
    """Tokens of each answer ``[A]``."""
    return np.array([len(tokens) for group in groups for tokens in group.tokens], dtype=np.int64)


def examples_of(
    groups: Sequence[Group],
    extras: Mapping[str, Floats] | None = None,
    *,
    keep: NDArray[np.bool_] | None = None,
) -> list[Example]:
    """An example a group with ``extras`` ``[N]`` beside its tokens, only of the answers to ``keep`` (bool ``[A]``).

    A group of which nothing is kept is left out.
    """
    lengths = lengths_of(groups)
    kept = np.ones(len(lengths), dtype=bool) if keep is None else keep
    first, token, found = 0, 0, []
    for group in groups:
        own = slice(first, first + len(group.answers))
        sizes, chosen = lengths[own], kept[own]
        tokens = [one for one, wanted in zip(group.tokens, chosen, strict=True) if wanted]
        if tokens:
            inside = token + np.flatnonzero(np.repeat(chosen, sizes))
            beside = {name: values[inside].astype(np.float32) for name, values in (extras or {}).items()}
            found.append(_example(group.question.example, tokens, beside))
        first, token = own.stop, token + int(sizes.sum())
    return found


def _example(prompt: Example, answers: Sequence[Sequence[int]], extras: Mapping[str, NDArray[np.float32]]) -> Example:
    start, total = len(prompt), sum(map(len, answers))
    branches = start + np.cumsum([0, *map(len, answers[:-1])])
    ids = np.concatenate([prompt.ids, np.fromiter(chain.from_iterable(answers), dtype=np.int32, count=total)])
    trained = np.arange(start + total) >= start
    return replace(prompt, ids=ids, trained=trained, branches=tuple(branches.tolist()), extras=extras)
