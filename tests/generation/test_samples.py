"""Several answers to one prompt: the prompt is computed once, and every answer is what it would be alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from asking import prompts

from families import tiny
from tunesmith.contracts.batch import Stream
from tunesmith.contracts.sampler import Answer, Ask, Sampling
from tunesmith.errors import UserError
from tunesmith.generation.generator import Generator
from tunesmith.models.policy import CausalPolicy

sys.path.append(str(Path(__file__).parents[1] / "methods"))
from prompting import TOKENS, prompted

SAMPLED = Sampling(temperature=1.0, top_k=50)
STOPS = list(range(2, 40))
"""Tokens that come up often, so that answers differ in length and rows change hands."""


class Counted(CausalPolicy):
    """A policy that notes how many tokens each of its passes computed."""

    passes: list[int]

    def hidden(self, stream: Stream) -> torch.Tensor:
        self.passes.append(len(stream.ids))
        return super().hidden(stream)


def counted(model: Any) -> Counted:
    policy = Counted(model)
    policy.passes = []
    return policy


def one_by_one(policy: CausalPolicy, asks: list[Ask], **options: Any) -> list[list[Answer]]:
    """Every answer asked for by itself, in a batch of one row."""
    alone = Generator(policy, batch=1, **options)
    return [[alone.sample([Ask(ask.prompt, [seed], ask.sampling)])[0][0] for seed in ask.seeds] for ask in asks]


@pytest.mark.parametrize("batch", [1, 3, 8, 64])
def test_samples_equal_single_answers_and_the_prompt_is_computed_once(batch: int) -> None:
    policy = counted(tiny("llama"))
    asks = [Ask(prompt, [10 * n + k for k in range(5)], SAMPLED) for n, prompt in enumerate(prompts(6))]
    options: dict[str, Any] = {"stop_ids": STOPS, "max_new_tokens": 12}
    answers = Generator(policy, batch=batch, **options).sample(asks)
    steps = sum(max(0, len(answer.ids) + answer.stopped - 1) for several in answers for answer in several)
    assert sum(policy.passes) == sum(len(ask.prompt) for ask in asks) + steps
    assert answers == one_by_one(policy, asks, **options)
    assert [[answer.seed for answer in several] for several in answers] == [list(ask.seeds) for ask in asks]
    lengths = {len(answer.ids) for several in answers for answer in several}
    assert len(lengths) > 4
    assert {len({tuple(answer.ids) for answer in several}) for several in answers} - {1}


@pytest.mark.parametrize("family", ["qwen3", "gemma3", "mistral", "gpt2"])
def test_families_with_windows_and_caps(family: str) -> None:
    policy = CausalPolicy(tiny(family))
    asks = [Ask(prompt, range(n, n + 4), SAMPLED) for n, prompt in enumerate(prompts(3, seed=2))]
    options: dict[str, Any] = {"stop_ids": STOPS[:12], "max_new_tokens": 20}
    assert Generator(policy, batch=5, **options).sample(asks, logprobs=False) == one_by_one(policy, asks, **options)


@pytest.mark.parametrize("method", ["prompt", "prefix", "p-tuning-v2"])
@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_with_virtual_tokens(family: str, method: str) -> None:
    model, attached = prompted(family, method)
    policy = counted(model)
    asks = [Ask(prompt, range(n, n + 4), SAMPLED) for n, prompt in enumerate(prompts(4, seed=3))]
    options: dict[str, Any] = {"stop_ids": STOPS[:20], "max_new_tokens": 14}
    answers = Generator(policy, batch=3, **options).sample(asks)
    assert max(policy.passes[:1]) <= sum(len(ask.prompt) for ask in asks), TOKENS
    assert answers == one_by_one(policy, asks, **options)
    greedy = Generator(policy, batch=8, **options)
    several = greedy.generate([ask.prompt for ask in asks], samples=3)
    assert several == [answer for answer in greedy.generate([ask.prompt for ask in asks]) for _ in range(3)]
    with attached.off():
        assert Generator(policy, batch=3, **options).sample(asks) != answers


def test_generate_keeps_the_answers_of_a_prompt_together() -> None:
    generator = Generator(CausalPolicy(tiny("llama")), stop_ids=[2], max_new_tokens=6, batch=4)
    asked = prompts(3)
    several = generator.generate(asked, samples=3, sampling=SAMPLED, seeds=[7, 8, 9])
    single = generator.generate(asked, sampling=SAMPLED, seeds=[7, 8, 9])
    assert several[::3] == single
    assert [answer.seed for answer in several[::3]] == [7, 8, 9]
    assert len({answer.seed for answer in several}) == 9


def test_the_padded_fallback_gives_the_same_samples() -> None:
    model = tiny("qwen3")
    asks = [Ask(prompt, [n, n + 9], SAMPLED) for n, prompt in enumerate(prompts(4))]
    options: dict[str, Any] = {"stop_ids": STOPS, "max_new_tokens": 10, "batch": 3}
    flat = Generator(CausalPolicy(model), **options).sample(asks)
    assert Generator(CausalPolicy(model, "padded"), **options).sample(asks) == flat


def test_nothing_to_do() -> None:
    generator = Generator(CausalPolicy(tiny("llama")), stop_ids=[2])
    assert generator.sample([]) == []
    assert generator.sample([Ask([5], [])]) == [[]]
    with pytest.raises(UserError, match="max_new_tokens"):
        generator.sample([Ask([5], max_new_tokens=0)])
