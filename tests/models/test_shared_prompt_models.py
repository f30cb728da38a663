"""Answers that share a beginning equal the same sequences written out, in every family, driver and method."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from families import VOCABULARY, configs, tiny
from methods.prompting import METHODS, prompted
from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.policy import Want
from tunesmith.data.collate import flatten
from tunesmith.methods.lora import Lora
from tunesmith.models import drivers
from tunesmith.models.policy import CausalPolicy
from tunesmith.models.quantized.model import quantize_model

FAMILIES = sorted(configs())
DRIVERS = ("flat", "padded")
CLOSE = 1e-5
"""Relative to the largest value: float32 sums in another order over two layers."""
GROUPS = ((9, (5, 13)), (21, (1, 2, 4, 2)), (0, (7,)), (2, (11, 9)))
"""Tokens of a beginning and of its answers; longer than the sliding window of 6 where a family has one."""
LONG = ((90, (33, 41, 40)), (60, (64, 17)), (0, (50,)))
"""Together long enough to be rounded up in length."""
Groups = tuple[tuple[int, tuple[int, ...]], ...]


def shared(groups: Groups = GROUPS) -> list[Example]:
    """One example a group; every second token of the answers, and the first of each, is a target."""
    generator = np.random.default_rng(0)
    found = []
    for row, (beginning, answers) in enumerate(groups):
        ids = generator.integers(3, VOCABULARY, beginning + sum(answers)).astype(np.int32)
        trained = np.concatenate([np.zeros(beginning, bool), *(np.arange(length) % 2 == 0 for length in answers)])
        branches = tuple(int(at) for at in beginning + np.cumsum([0, *answers[:-1]])) if beginning else ()
        found.append(Example(ids, trained, row, branches=branches))
    return found


def written_out(examples: list[Example]) -> list[Example]:
    """One example an answer, behind its beginning."""
    found = []
    for example in examples:
        branches = example.branches or (0,)
        for start, end in zip(branches, (*branches[1:], len(example)), strict=True):
            rows = np.r_[0 : branches[0], start:end]
            found.append(Example(example.ids[rows], example.trained[rows], example.row))
    return found


def relative(ours: torch.Tensor, wanted: torch.Tensor) -> float:
    return float(((ours - wanted).abs().max() / wanted.abs().max()).detach())


def placed(examples: list[Example]) -> torch.Tensor:
    """For each row of the shared stream the row of the written-out one that is the same token of the same text."""
    found: list[int] = []
    start = 0
    for example in examples:
        branches = example.branches or (0,)
        first = branches[0]
        found += range(start, start + first)
        for at, end in zip(branches, (*branches[1:], len(example)), strict=True):
            found += range(start + first, start + first + end - at)
            start += first + end - at
    return torch.tensor(found)


def hidden(policy: CausalPolicy, examples: list[Example]) -> torch.Tensor:
    return policy.hidden(flatten(examples).main)


def gradients(policy: CausalPolicy, batch: Batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Log-probabilities, and the gradient of their sum, each with a weight of its own."""
    policy.zero_grad()
    logprob = policy(batch, Want()).logprob
    assert logprob is not None
    (logprob * torch.linspace(-1, 2, len(logprob))).sum().backward()
    found = {name: one.grad.clone() for name, one in policy.named_parameters() if one.grad is not None}
    return logprob.detach(), found


def assert_same(policy: CausalPolicy, groups: Groups = GROUPS, *, bound: float = CLOSE) -> None:
    """Values relative to the largest; a gradient relative to its largest entry, or to a thousandth of the largest of
    all where it is noise: 5e-5 as against the untouched models."""
    examples = shared(groups)
    apart = written_out(examples)
    with torch.no_grad():
        assert relative(hidden(policy, examples), hidden(policy, apart)[placed(examples)]) < bound
    ours, found = gradients(policy, flatten(examples))
    wanted, expected = gradients(policy, flatten(apart))
    assert relative(ours, wanted) < bound
    assert found.keys() == expected.keys()
    floor = 1e-3 * max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        worst = float((found[name] - gradient).abs().max())
        assert worst / max(floor, float(gradient.abs().max())) < 5 * bound, name


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_row_and_gradient(family: str, driver: Any) -> None:
    assert_same(CausalPolicy(tiny(family).requires_grad_(True), driver))


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_are_those_of_the_untouched_model(family: str) -> None:
    """Not only of this driver on the same texts apart: of transformers on each."""
    examples = shared()
    model = tiny(family)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        apart = [drivers.alone(model, torch.from_numpy(one.ids).long()) for one in written_out(examples)]
        wanted = torch.cat(apart)[placed(examples)]
        assert relative(hidden(CausalPolicy(model), examples), wanted) < CLOSE


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3", "bert"])
def test_a_long_stream_too(family: str) -> None:
    assert_same(CausalPolicy(tiny(family).requires_grad_(True)), LONG)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_activation_checkpointing(family: str, driver: Any) -> None:
    policy = CausalPolicy(tiny(family).requires_grad_(True), driver)
    policy.model.activation_checkpointing_enable({"use_reentrant": False})
    policy.train()
    assert_same(policy)


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_a_quantized_base(kind: str) -> None:
    model = tiny("llama")
    quantize_model(model, kind)
    attached = Lora(rank=4).attach(model)
    with torch.no_grad():
        for group in attached.groups():
            for parameter in group.parameters.values():
                parameter.add_(torch.randn_like(parameter) * 0.1)
    assert_same(CausalPolicy(model))


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("kind", ["mixtral", "qwen3-moe"])
def test_a_mixture_of_experts(kind: str, driver: Any) -> None:
    assert_same(CausalPolicy(experts(kind), driver))


def experts(kind: str) -> Any:
    """Four experts of which two are chosen for each token."""
    from transformers import AutoModelForCausalLM, MixtralConfig, Qwen3MoeConfig

    common = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    common |= {"num_key_value_heads": 2, "intermediate_size": 48, "num_experts_per_tok": 2, "head_dim": 8}
    options: dict[str, Any] = {"num_experts": 4, "moe_intermediate_size": 24, "decoder_sparse_step": 1}
    config = MixtralConfig(num_local_experts=4, **common) if kind == "mixtral" else Qwen3MoeConfig(**options, **common)
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).float().eval()


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2", "bert"])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_virtual_tokens_and_prefixes_stand_in_front_once(method: str, family: str, driver: Any) -> None:
    model, _ = prompted(family, method)
    assert_same(CausalPolicy(model, driver))


@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_virtual_tokens_and_prefixes_in_a_long_stream(method: str) -> None:
    model, _ = prompted("llama", method)
    assert_same(CausalPolicy(model), LONG)


@pytest.mark.parametrize("driver", DRIVERS)
def test_token_types_go_with_their_tokens(driver: Any) -> None:
    examples = [replace(example, second=example.branches[0] - 2) for example in shared(GROUPS[:2])]
    policy = CausalPolicy(tiny("bert"), driver)
    stream = flatten(examples).main
    with torch.no_grad():
        found, untyped = policy.hidden(stream), policy.hidden(replace(stream, types=None))
        marked = [replace(one, second=examples[one.row].second) for one in written_out(examples)]
        wanted = policy.hidden(flatten(marked).main)
    assert relative(found, wanted[placed(examples)]) < CLOSE
    assert relative(found, untyped) > 1e-2


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_dropout_in_attention_acts_and_is_finite(family: str) -> None:
    policy = CausalPolicy(tiny(family).requires_grad_(True))
    for module in policy.model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.3
    policy.train()
    torch.manual_seed(0)
    ours, found = gradients(policy, flatten(shared()))
    torch.manual_seed(0)
    again, _ = gradients(policy, flatten(shared()))
    policy.eval()
    plain, _ = gradients(policy, flatten(shared()))
    assert torch.equal(ours, again)
    assert relative(ours, plain) > 1e-3
    assert all(bool(gradient.isfinite().all()) for gradient in found.values())


def test_a_beginning_is_computed_once() -> None:
    """Rows that reach a linear: those of the shared stream, flat; of whole sequences where it must be."""
    seen: list[int] = []
    for family, rows in (("llama", 86), ("bert", 9 * 2 + 18 + 21 * 4 + 9 + 7 + 2 * 2 + 20)):
        policy = CausalPolicy(tiny(family))
        linear = next(module for name, module in policy.named_modules() if name.endswith(("q_proj", "self.query")))
        handle = linear.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1]))
        with torch.no_grad():
            hidden(policy, shared())
        handle.remove()
        assert seen.pop() == rows, family
