"""A share of a feed's answers replaced by what the model itself says (Agarwal et al. 2024, GKD, algorithm 1).

Of a row the last answer is replaced: everything before it is the prompt. Which rows, and what is drawn, follows from
the seed, the update's number and the weights; nothing is kept from one update to the next.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tunesmith.contracts.batch import Example, Feed
from tunesmith.contracts.sampler import Ask, Sampler, Sampling
from tunesmith.data.loader import FeedAround
from tunesmith.objectives.distill import OWN
from tunesmith.rollouts.groups import tokens_of
from tunesmith.seed import derive

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Answering:
    """How a model answers: ``share`` of the rows, ``sampling``, and at most ``max_new_tokens``."""

    sampler: Sampler
    share: float
    sampling: Sampling
    max_new_tokens: int
    seed: int


class OnPolicyFeed(FeedAround):
    """The updates of ``feed`` with some answers replaced."""

    def __init__(self, feed: Feed, answering: Answering) -> None:
        super().__init__(feed)
        self._answering = answering
        self._last: tuple[int, Sequence[Example]] = (-1, ())

    def update(self, step: int) -> Sequence[Example]:
        """The examples of update ``step``, sampled when it is first asked for."""
        if self._last[0] != step:
            self._last = (step, self._sampled(step, self._feed.update(step)))
        return self._last[1]

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take back what ``state`` gave; an update asked for before is sampled anew."""
        super().restore(state)
        self._last = (-1, ())

    def _sampled(self, step: int, examples: Sequence[Example]) -> list[Example]:
        how = self._answering
        rng = np.random.Generator(np.random.PCG64(derive(how.seed, "on-policy", step)))
        chosen = rng.random(len(examples)) < how.share
        numbers = np.flatnonzero(chosen).tolist()
        asks = [
            Ask(
                examples[number].ids[: answer_begins(examples[number])].tolist(),
                [derive(how.seed, "on-policy", step, number)],
                how.sampling,
                max_new_tokens=how.max_new_tokens,
            )
            for number in numbers
        ]
        said = how.sampler.sample(asks) if asks else []
        own = {number: tokens_of(answer) for number, (answer,) in zip(numbers, said, strict=True)}
        return [_marked(example, own.get(number)) for number, example in enumerate(examples)]


def answer_begins(example: Example) -> int:
    """Where the last run of trained tokens begins."""
    before = np.concatenate([[False], example.trained[:-1]])
    return int(np.flatnonzero(example.trained & ~before)[-1])


def _marked(example: Example, answer: list[int] | None) -> Example:
    """The example with its own answer, or with ``answer``; ``OWN`` says which."""
    extras = {**example.extras, OWN: np.array([answer is not None], dtype=np.float32)}
    if answer is None:
        return replace(example, extras=extras)
    prompt = example.ids[: answer_begins(example)]
    ids = np.concatenate([prompt, np.array(answer, dtype=np.int32)])
    return replace(example, ids=ids, trained=np.arange(len(ids)) >= len(prompt), extras=extras)
