"""A feed of which a share of the answers is the model's own: which rows, which tokens, and again the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from tunesmith.contracts.batch import Example
from tunesmith.contracts.sampler import Answer, Ask, Sampling
from tunesmith.objectives.distill import OWN, Distill
from tunesmith.rollouts.on_policy import Answering, OnPolicyFeed, answer_begins


def row(number: int) -> Example:
    """Two turns: targets at 2..3 and at 6..8 of nine tokens."""
    ids = np.arange(10 * number, 10 * number + 9, dtype=np.int32)
    return Example(ids, np.isin(np.arange(9), [2, 3, 6, 7, 8]), row=number)


class Rows:
    """The same ten rows in every update."""

    def update(self, step: int) -> Sequence[Example]:
        return [row(number) for number in range(10)]

    def epoch_of(self, step: int) -> float:
        return float(step)

    def steps_in(self, epochs: float) -> int:
        return int(epochs)

    def state(self) -> Mapping[str, torch.Tensor]:
        return {"mark": torch.tensor(3)}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        assert int(state["mark"]) == 3


class Says:
    """Answers with two tokens made of the seed, the second of which ends the answer."""

    def __init__(self) -> None:
        self.asked: list[Ask] = []

    def sample(self, asks: Sequence[Ask], *, logprobs: bool = False) -> list[list[Answer]]:
        self.asked += asks
        return [[Answer([900 + int(seed) % 97], stop=2) for seed in ask.seeds] for ask in asks]


def feed(share: float, seed: int = 0) -> tuple[OnPolicyFeed, Says]:
    says = Says()
    return OnPolicyFeed(Rows(), Answering(says, share, Sampling(temperature=0.7), 5, seed)), says


def own(examples: Sequence[Example]) -> list[int]:
    return [at for at, one in enumerate(examples) if one.extras[OWN][0]]


def test_the_last_answer_is_replaced() -> None:
    assert answer_begins(row(0)) == 6
    updates, says = feed(1.0)
    examples = updates.update(0)
    assert own(examples) == list(range(10))
    first = examples[0]
    assert first.ids.tolist() == [0, 1, 2, 3, 4, 5, first.ids[6], 2]
    assert first.ids.dtype == np.int32
    assert first.trained.tolist() == [False] * 6 + [True, True]
    assert says.asked[0].prompt == [0, 1, 2, 3, 4, 5]
    assert says.asked[0].sampling.temperature == 0.7
    assert says.asked[0].max_new_tokens == 5


def test_none_is_replaced() -> None:
    updates, says = feed(0.0)
    assert own(updates.update(0)) == []
    assert says.asked == []
    assert updates.update(0)[3].ids.tolist() == row(3).ids.tolist()


def test_the_share_is_drawn_by_seed_and_step() -> None:
    updates, _ = feed(0.5)
    chosen = [own(updates.update(step)) for step in range(200)]
    assert abs(sum(map(len, chosen)) / 2000 - 0.5) < 0.05  # four standard deviations
    assert chosen[0] != chosen[1]
    again, other = feed(0.5)[0], feed(0.5, seed=1)[0]
    assert own(again.update(7)) == chosen[7]
    assert [own(other.update(step)) for step in range(5)] != chosen[:5]


def test_an_update_is_sampled_once_and_the_rest_is_the_feeds() -> None:
    updates, says = feed(1.0)
    assert updates.update(4) is updates.update(4)
    assert len(says.asked) == 10
    updates.restore(updates.state())
    updates.update(4)
    assert len(says.asked) == 20
    assert (updates.epoch_of(3), updates.steps_in(2.0)) == (3.0, 2)


def test_own_answers_have_no_hard_loss() -> None:
    """Of two examples with five targets and of two own ones with two each, the hard loss counts ten tokens."""
    own_answers: list[Any] = list(feed(1.0)[0].update(0)[:2])
    given = list(feed(0.0)[0].update(0)[:2])
    assert Distill(teacher="any", hard=0.5).counts(own_answers + given) == {"divergence": 14.0, "nll": 10.0}
    assert Distill(teacher="any", hard=0.5).counts(own_answers) == {"divergence": 4.0, "nll": 1.0}
