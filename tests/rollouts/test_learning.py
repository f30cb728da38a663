"""What all of it is for: the reward rises, with every variant, and a value head learns what to expect."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from families import tiny
from rollouts.rigs import feed, rewards
from tunesmith.contracts.reward import Sample
from tunesmith.models.policy import CausalPolicy
from tunesmith.models.task_head import add_heads
from tunesmith.objectives.grpo import PRESETS, Grpo
from tunesmith.objectives.ppo import Ppo
from tunesmith.objectives.sampled import Sampled


def even(sample: Sample) -> float:
    """The share of even tokens: a half before anything is learned."""
    words = sample.answer.split()
    return sum(int(word) % 2 == 0 for word in words) / max(1, len(words))


def learned(objective: Sampled, steps: int) -> tuple[list[float], list[dict[str, float]]]:
    """Rewards of the rollouts, and the terms of each update, of plain training with Adam."""
    torch.manual_seed(0)
    model = tiny("llama").requires_grad_(True)
    add_heads(model, objective.more_heads())
    policy, events, told = CausalPolicy(model), [], []
    rollouts = feed(objective, rewards(even), policy=policy, events=events, batch_size=8)
    optimizer = torch.optim.Adam(policy.parameters(), lr=3e-3)
    for step in range(steps):
        examples = rollouts.update(step)
        batch, counts = objective.collate(examples), objective.counts(examples)
        terms = {term.name: term for term in objective.loss(policy(batch, objective.want), batch)}
        values = {name: term.values.sum() / counts[name] for name, term in terms.items()}
        loss = sum((terms[name].weight * value for name, value in values.items()), torch.zeros(()))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        told.append({name: float(value) for name, value in values.items()})
    return [event.values["reward"] for event in events if event.kind == "rollout"], told


@pytest.mark.slow
@pytest.mark.parametrize("variant", sorted(PRESETS))
def test_the_reward_rises(variant: str) -> None:
    """From about 0.47; without learning it stays within 0.1 of that."""
    options: dict[str, Any] = {"clip_low": 0.2, "clip_high": 0.2} if variant == "gspo" else {}
    objective = Grpo(variant=variant, answers=8, max_new_tokens=6, kl=0.0, kl_in="loss", measure_kl=False, **options)
    found, _ = learned(objective, 25)
    assert sum(found[-5:]) / 5 > found[0] + 0.2


@pytest.mark.slow
def test_the_reward_rises_with_a_value_head_that_learns_what_to_expect() -> None:
    objective = Ppo(answers=8, max_new_tokens=6, kl=0.0, measure_kl=False, mini_epochs=2, value_weight=0.5)
    found, told = learned(objective, 40)
    assert sum(found[-5:]) / 5 > found[0] + 0.2
    assert sum(one["value"] for one in told[-6:]) < sum(one["value"] for one in told[:6])
