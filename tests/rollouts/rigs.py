"""A tiny model, questions about it and rewards of its answers, put together as ``run.rollouts`` does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from families import VOCABULARY, tiny
from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.data import Message, Record
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.contracts.reward import Sample
from tunesmith.generation.generator import Generator
from tunesmith.generation.inference import inference
from tunesmith.models.policy import CausalPolicy
from tunesmith.objectives.sampled import Sampled
from tunesmith.rewards.base import RewardConfig
from tunesmith.rewards.build import Weighted, WeightedRewards
from tunesmith.rollouts.feed import Plan, RolloutFeed
from tunesmith.rollouts.groups import Asking
from tunesmith.rollouts.questions import Questions
from tunesmith.rollouts.rollout import Tools

STOPS = list(range(3, 63))
"""Tokens that end an answer: about one in five."""


class Scorer(RewardConfig):
    """A reward that is a function of a sample."""

    function: Any

    def score(self, samples: Sequence[Sample]) -> list[float]:
        return [self.function(sample) for sample in samples]


def rewards(function: Callable[[Sample], float], name: str = "made-up") -> WeightedRewards:
    return WeightedRewards((Weighted(name, 1.0, Scorer(function=function)),))


def decode(ids: Sequence[int]) -> str:
    return " ".join(map(str, ids))


def prompts(count: int = 10) -> list[Example]:
    rng = np.random.default_rng(4)
    sizes = rng.integers(2, 7, count)
    return [
        Example(rng.integers(3, VOCABULARY, size).astype(np.int32), np.zeros(size, dtype=bool), row)
        for row, size in enumerate(sizes)
    ]


def questions(count: int = 10) -> Questions:
    records = {
        row: Record(messages=(Message("user", f"question {row}"), Message("assistant", str(row))))
        for row in range(count)
    }
    return Questions(prompts(count), records)


class Order:
    """Prompts one after the other, in every epoch."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def epoch(self, number: int) -> np.ndarray:
        return np.arange(self.count)


def asker(policy: CausalPolicy, want: Want) -> Callable[[Sequence[Example], Batch], Outputs]:
    def ask(_: Sequence[Example], batch: Batch) -> Outputs:
        with inference(policy):
            outputs: Outputs = policy(batch, want)
        return outputs

    return ask


def tools(objective: Sampled, policy: CausalPolicy, reward: WeightedRewards, **options: Any) -> Tools:
    sampler = Generator(policy, stop_ids=STOPS, batch=8)
    asking = Asking(sampler, decode, objective.sampling, objective.max_new_tokens, logprobs=True)
    reference = CausalPolicy(tiny("llama", seed=1))
    start = objective.beside.get("reference")
    given: dict[str, Any] = {"reference": start and asker(reference, start), **options}
    return Tools(objective, asking, reward, asker(policy, objective.want), **given)


def feed(
    objective: Sampled,
    reward: WeightedRewards,
    *,
    policy: CausalPolicy | None = None,
    seed: int = 0,
    batch_size: int = 3,
    events: list[Any] | None = None,
    **options: Any,
) -> RolloutFeed:
    policy = policy or CausalPolicy(tiny("llama"))
    plan = Plan(batch_size, objective.mini_batches, objective.mini_epochs, 10)
    emit = events.append if events is not None else (lambda _: None)
    made = tools(objective, policy, reward, **options)
    return RolloutFeed(made, questions(), Order(10), plan, seed=seed, emit=emit)  # type: ignore[arg-type]


def logprobs(policy: CausalPolicy, objective: Sampled, examples: Sequence[Example]) -> torch.Tensor:
    """What the trainer's own pass says, ``[N]``."""
    with torch.no_grad():
        found = policy(objective.collate(examples), objective.want).logprob
    assert isinstance(found, torch.Tensor)
    return found
