"""Generation with the cache equals transformers' and the uncached model, whatever shares the batch."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from asking import prompts

from families import tiny
from tunesmith.contracts.batch import Layout, Stream
from tunesmith.errors import UserError
from tunesmith.generation.cache import Cache
from tunesmith.generation.generator import Answer, Generator, Sampling
from tunesmith.generation.inference import inference
from tunesmith.models.policy import CausalPolicy

FLAT = ("llama", "qwen3", "gemma3", "mistral", "phi3", "gpt2")
SAMPLED = Sampling(temperature=1.0, top_k=50, top_p=0.95)


def theirs(model: Any, prompt: list[int], *, stop_ids: list[int], max_new_tokens: int) -> list[int]:
    """Greedy by transformers, one prompt at a time."""
    out = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=stop_ids,
        pad_token_id=0,
    )
    return out[0, len(prompt) :].tolist()


def whole(answer: Answer) -> list[int]:
    return [*answer.ids, answer.stop] if answer.stop is not None else answer.ids


def uncached(policy: CausalPolicy, ids: list[int]) -> torch.Tensor:
    """Logits ``[T, V]`` of one sequence without a cache."""
    layout = Layout(torch.tensor([0, len(ids)]), (len(ids),))
    with torch.no_grad():
        return policy.logits(policy.hidden(Stream(torch.tensor(ids), torch.arange(len(ids)), layout)))


@pytest.mark.parametrize("family", FLAT)
def test_greedy_equals_transformers(family: str) -> None:
    model = tiny(family)
    asked = prompts()
    free = [theirs(model, prompt, stop_ids=[2], max_new_tokens=24) for prompt in asked]
    stops = sorted({2, free[0][5], free[3][9]})  # tokens that do come up, so that some rows end early
    expected = [theirs(model, prompt, stop_ids=stops, max_new_tokens=24) for prompt in asked]
    assert len({len(ids) for ids in expected}) > 1

    generator = Generator(CausalPolicy(model), stop_ids=stops, max_new_tokens=24, batch=3)
    answers = generator.generate(asked)
    assert [whole(answer) for answer in answers] == expected
    assert [answer.stopped for answer in answers] == [ids[-1] in stops for ids in expected]


@pytest.mark.parametrize("family", FLAT)
def test_cached_logits_equal_uncached_ones(family: str) -> None:
    policy = CausalPolicy(tiny(family))
    asked = prompts(4)
    sequences = [[*prompt, *prompts(1, seed=9)[0] * 2] for prompt in asked]
    cache = Cache(rows=4)
    with inference(policy):
        stream = cache.prefill(asked, policy.device)
        got = [policy.logits(policy.hidden(stream)[stream.layout.starts[1:] - 1])]
        for step in range(len(sequences[0]) - len(asked[0])):
            tokens = [sequence[len(prompt) + step] for sequence, prompt in zip(sequences, asked, strict=True)]
            got.append(policy.logits(policy.hidden(cache.decode(tokens, policy.device))))
    for row, (sequence, prompt) in enumerate(zip(sequences, asked, strict=True)):
        expected = uncached(policy, sequence)[len(prompt) - 1 :]
        torch.testing.assert_close(torch.stack([logits[row] for logits in got]), expected, atol=1e-5, rtol=1e-5)


def test_soft_capped_attention_of_the_cache_equals_explicit_scores() -> None:
    """Two rows of 3 and 5 tokens, then one decode step, against softmax(c·tanh(qk/c)) v written out in float64."""
    rng = torch.Generator().manual_seed(0)
    cache, lengths, cap = Cache(rows=2), [3, 5], 0.7
    past = [torch.randn(1, 2, 8, 4, generator=rng) for _ in range(2)]
    new = [torch.randn(1, 2, 2, 4, generator=rng) for _ in range(2)]
    query = torch.randn(1, 4, 2, 4, generator=rng)
    stream = cache.prefill([[0] * length for length in lengths], torch.device("cpu"))
    options: dict[str, Any] = {"scaling": 0.5, "softcap": cap}
    stream.layout.cache.attend(0, torch.randn(1, 4, 8, 4, generator=rng), *past, window=None, **options)  # type: ignore[union-attr]
    step = cache.decode([0, 0], torch.device("cpu")).layout.cache
    for window in (None, 4):
        got = step.attend(0, query, *new, window=window, **options)  # type: ignore[union-attr]
        start = 0
        for row, length in enumerate(lengths):
            k, v = (
                torch.cat([old[0, :, start : start + length], last[0, :, row : row + 1]], dim=1).double()
                for old, last in zip(past, new, strict=True)
            )
            seen = slice(0 if window is None else max(0, length + 1 - window), None)
            for head in range(4):
                scores = cap * torch.tanh(k[head // 2, seen] @ query[0, head, row].double() * 0.5 / cap)
                expected = scores.softmax(0) @ v[head // 2, seen]
                torch.testing.assert_close(got[0, row, head].double(), expected, atol=1e-6, rtol=0)
            start += length


@pytest.mark.parametrize("driver", ["flat", "padded"])
def test_a_sample_does_not_depend_on_its_neighbours(driver: Any) -> None:
    policy = CausalPolicy(tiny("llama"), driver)
    asked, seeds = prompts(6), [11, 22, 33, 44, 55, 66]
    together = Generator(policy, stop_ids=[2, 5], max_new_tokens=16, batch=4)
    answers = together.generate(asked, sampling=SAMPLED, seeds=seeds, logprobs=True)
    alone = Generator(policy, stop_ids=[2, 5], max_new_tokens=16, batch=1)
    for number in (4, 0, 3):
        answer = alone.generate([asked[number]], sampling=SAMPLED, seeds=[seeds[number]], logprobs=True)[0]
        assert (answer.ids, answer.stop) == (answers[number].ids, answers[number].stop)
        assert answer.logprobs == pytest.approx(answers[number].logprobs, abs=1e-4)
    other = together.generate(asked, sampling=SAMPLED, seeds=[seed + 1 for seed in seeds])
    assert all(one.ids != two.ids for one, two in zip(answers, other, strict=True))


@pytest.mark.parametrize("sampling", [Sampling(), SAMPLED])
def test_the_padded_fallback_gives_the_same_answers(sampling: Sampling) -> None:
    model, asked = tiny("qwen3"), prompts(5)
    model.generation_config.repetition_penalty = 5.0  # the model's own habits must not leak in
    options: dict[str, Any] = {"stop_ids": [2, 7, 9], "max_new_tokens": 12, "batch": 3}
    flat = Generator(CausalPolicy(model), **options).generate(asked, sampling=sampling, logprobs=True)
    padded_policy = CausalPolicy(model, "padded")
    padded = Generator(padded_policy, **options).generate(asked, sampling=sampling, logprobs=True)
    assert [whole(answer) for answer in padded] == [whole(answer) for answer in flat]
    assert padded[0].logprobs == pytest.approx(flat[0].logprobs, abs=1e-4)
    assert model.generation_config.repetition_penalty == 5.0
    alone = Generator(padded_policy, **options).generate([asked[0]], sampling=sampling, seeds=[3])[0]
    assert list(Generator(padded_policy, **options).stream(asked[0], sampling=sampling, seed=3)) == alone.ids


def test_logprobs_are_the_models_own() -> None:
    policy, prompt = CausalPolicy(tiny("llama")), [5, 6, 7]
    answer = Generator(policy, stop_ids=[], max_new_tokens=6).generate([prompt], sampling=SAMPLED, logprobs=True)[0]
    expected = uncached(policy, [*prompt, *answer.ids])[len(prompt) - 1 : -1].log_softmax(-1)
    assert answer.logprobs == pytest.approx([expected[i, token].item() for i, token in enumerate(answer.ids)], abs=1e-5)


def test_answers_are_given_as_they_finish_and_can_be_abandoned() -> None:
    policy = CausalPolicy(tiny("llama")).train()
    policy.model.eval()
    modes = [module.training for module in policy.modules()]
    generator = Generator(policy, stop_ids=[2], max_new_tokens=8, batch=2)
    with torch.enable_grad():
        iterator = generator.each(prompts(6))
        first = next(iterator)
        assert torch.is_grad_enabled()
        assert [module.training for module in policy.modules()] == modes
        iterator.close()
        tokens = list(islice(generator.stream(prompts(6)[first.number]), 3))
        assert torch.is_grad_enabled()
    assert [module.training for module in policy.modules()] == modes
    assert tokens == first.answer.ids[:3]
    assert sorted(finished.number for finished in generator.each(prompts(6))) == list(range(6))


def test_a_failing_step_leaves_the_model_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = CausalPolicy(tiny("llama")).train()

    def interrupted(_: torch.Tensor) -> torch.Tensor:
        assert not policy.training
        raise KeyboardInterrupt

    monkeypatch.setattr(policy, "logits", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Generator(policy, stop_ids=[]).generate([[5]])
    assert policy.training
    assert policy.model.training


def test_streaming_equals_generating() -> None:
    policy = CausalPolicy(tiny("gemma3"))
    prompt = prompts(1)[0]
    generator = Generator(policy, stop_ids=[2], max_new_tokens=20)
    expected = generator.generate([prompt])[0]
    assert list(generator.stream(prompt)) == expected.ids
    sampled = generator.generate([prompt], sampling=SAMPLED, seeds=[3])[0]
    assert list(generator.stream(prompt, sampling=SAMPLED, seed=3)) == sampled.ids
    stopping = Generator(policy, stop_ids=[expected.ids[0]], max_new_tokens=20)
    assert list(stopping.stream(prompt)) == []
    assert stopping.generate([prompt])[0] == Answer([], expected.ids[0])


@pytest.mark.parametrize("driver", ["flat", "padded"])
def test_an_answer_ends_at_the_models_context(driver: Any) -> None:
    policy = CausalPolicy(tiny("gpt2"), driver)  # 256 learned positions
    long, short = [5] * 250, [6, 7]
    generator = Generator(policy, stop_ids=[], max_new_tokens=20)
    assert [len(answer.ids) for answer in generator.generate([short, long])] == [20, 6]
    with pytest.raises(UserError, match="leaves no room") as told:
        generator.generate([[5] * 256])
    assert told.value.code == "prompt-too-long"
    with pytest.raises(UserError, match="has no token"):
        generator.generate([[5], []])
    assert generator.generate([]) == []


def test_a_long_queue_passes_through_a_small_cache() -> None:
    """Refilling, moving rows and growing the cache: the answers are those of one prompt at a time."""
    policy, asked = CausalPolicy(tiny("mistral")), [*prompts(9), [8] * 70, [9] * 40]
    options: dict[str, Any] = {"stop_ids": list(range(2, 40)), "max_new_tokens": 40}
    queued = Generator(policy, batch=4, prefill_tokens=16, **options)
    together = queued.generate(asked, sampling=SAMPLED, seeds=range(11))
    for number, prompt in enumerate(asked):
        alone = Generator(policy, batch=1, **options).generate([prompt], sampling=SAMPLED, seeds=[number])[0]
        assert alone == together[number]
    assert len({len(answer.ids) for answer in together}) > 3


def test_a_real_model_tells_a_story(real_data: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = real_data / "models/stories260k-hf"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    asked = [
        [1, *tokenizer.encode(text, add_special_tokens=False)]
        for text in ("Once upon a time", "Lily and Tom", "One day, a little dog named Max went to the park.")
    ]
    expected = [theirs(model, prompt, stop_ids=[1, 2], max_new_tokens=80) for prompt in asked]
    answers = Generator(CausalPolicy(model), stop_ids=[1, 2], max_new_tokens=80).generate(asked)
    assert [whole(answer) for answer in answers] == expected
    assert tokenizer.decode(answers[0].ids).startswith(", there was a little girl named Lily.")
