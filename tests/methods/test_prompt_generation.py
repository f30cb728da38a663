"""Generation with prompts: our cache = no cache = transformers' generate, batched = one by one, in every family."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from prompting import METHODS, TOKENS, prompted

from families import VOCABULARY, tiny
from tunesmith.contracts.batch import Layout, Stream
from tunesmith.errors import UserError
from tunesmith.generation.generator import Generator
from tunesmith.generation.inference import inference
from tunesmith.models.policy import CausalPolicy

FLAT = ["llama", "qwen3", "gemma2", "gemma3", "mistral", "phi3", "gpt2"]
NEW = 14
each_method = pytest.mark.parametrize("method", METHODS)


def prompts(count: int = 6) -> list[list[int]]:
    """Random prompts of 1 to 13 tokens, so that some are shorter than a window of 6 and others are not."""
    rng = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 14, (count,), generator=rng).tolist()
    return [torch.randint(3, VOCABULARY, (length,), generator=rng).tolist() for length in lengths]


def step_by_step(policy: CausalPolicy, prompt: list[int]) -> list[int]:
    """Greedy without any cache, on the flat driver."""
    tokens = list(prompt)
    with inference(policy):
        for _ in range(NEW):
            layout = Layout(torch.tensor([0, len(tokens)]), (len(tokens),))
            hidden = policy.hidden(Stream(torch.tensor(tokens), torch.arange(len(tokens)), layout))
            tokens.append(int(policy.logits(hidden[-1:]).argmax()))
    return tokens[len(prompt) :]


def theirs(model: Any, asked: list[list[int]], **options: Any) -> list[list[int]]:
    """Greedy by transformers: one left-padded batch."""
    longest = max(map(len, asked))
    rows = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in asked])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in asked])
    out = model.generate(
        rows, attention_mask=mask, do_sample=False, max_new_tokens=NEW, eos_token_id=None, pad_token_id=0, **options
    )
    return [row[longest:].tolist() for row in out]


@each_method
@pytest.mark.parametrize("family", FLAT)
def test_every_way_says_the_same(family: str, method: str) -> None:
    model, attached = prompted(family, method)
    asked = prompts()
    policy = CausalPolicy(model)
    wanted = [step_by_step(policy, prompt) for prompt in asked]
    generator = Generator(policy, stop_ids=[], max_new_tokens=NEW, batch=4)
    assert [answer.ids for answer in generator.generate(asked)] == wanted
    with attached.off():
        base = [answer.ids for answer in generator.generate(asked)]
    assert base != wanted
    policy.drive("padded")
    assert theirs(model, asked) == wanted
    assert theirs(model, asked, use_cache=False) == wanted
    assert [theirs(model, [prompt])[0] for prompt in asked[:2]] == wanted[:2]
    assert [answer.ids for answer in generator.generate(asked)] == wanted, "the padded fallback"
    with attached.off():
        assert theirs(model, asked) == base


@pytest.mark.parametrize("method", ["prompt", "p-tuning-v2"])
def test_beams(method: str) -> None:
    """Each beam search alone equals the batch's: rows of the cache are reordered and repeated."""
    model, _ = prompted("gemma3", method)
    asked = prompts(3)
    together = theirs(model, asked, num_beams=3)
    assert together == [theirs(model, [prompt], num_beams=3)[0] for prompt in asked]
    assert together == theirs(model, asked, num_beams=3, use_cache=False)


@each_method
def test_virtual_tokens_take_positions_of_the_context(method: str) -> None:
    model, attached = prompted("gpt2", method)  # 256 learned positions
    generator = Generator(CausalPolicy(model), stop_ids=[], max_new_tokens=20)
    assert len(generator.generate([[5] * 245])[0].ids) == 256 - 245 - TOKENS
    with pytest.raises(UserError) as told:
        generator.generate([[5] * (256 - TOKENS)])
    assert told.value.code == "prompt-too-long"
    with attached.off():
        assert len(generator.generate([[5] * 245])[0].ids) == 11


def test_a_mask_of_pairs_is_refused() -> None:
    model, _ = prompted("llama", "prompt")
    with pytest.raises(UserError) as told:
        model(input_ids=torch.ones(1, 3, dtype=torch.long), attention_mask=torch.ones(1, 1, 3, 3))
    assert told.value.code == "mask-of-pairs"


def test_a_queue_passes_through_a_small_cache() -> None:
    """Refilling and moving rows: the answers are those of one prompt at a time."""
    for method in ("prompt", "prefix"):
        model, _ = prompted("mistral", method)
        policy, asked = CausalPolicy(model), [*prompts(9), [8] * 70]
        options: dict[str, Any] = {"stop_ids": list(range(2, 60)), "max_new_tokens": 30}
        together = Generator(policy, batch=4, prefill_tokens=16, **options).generate(asked)
        alone = [Generator(policy, batch=1, **options).generate([prompt])[0] for prompt in asked]
        assert together == alone
        assert len({len(answer.ids) for answer in together}) > 2
        assert tiny("mistral").config.sliding_window == 6
