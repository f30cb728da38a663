"""The contract every method keeps: one table, one row a method; a method without a row fails.

An exception to a rule is data with its reason.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from families import tiny
from tunesmith.contracts.method import Method
from tunesmith.methods import TABLE
from tunesmith.recipe.parts import build
from tunesmith.recipe.schema import Part

ROWS: dict[str, list[Part]] = {
    "full": [Part(name="full")],
    "freeze": [
        Part(name="freeze", top_layers=1),
        Part(name="freeze", top_layers=0, head=False, train=["*norm*", "*.ln_*", "*LayerNorm*"]),
    ],
    "lora": [
        Part(name="lora", rank=4),
        Part(name="lora", rank=3, rslora=True, dropout=0.2, targets="attention"),
        Part(name="lora", rank=2, bias="all", targets="mlp"),
        Part(name="lora", rank=2, bias="lora_only"),
    ],
}
METHODS = [part for parts in ROWS.values() for part in parts]
FAMILIES = ["llama", "gpt2", "bert", "phi3", "gemma3"]
NO_MATCH = {
    ("freeze", "llama"): ["*norm*"],
    ("freeze", "phi3"): ["*norm*"],
    ("freeze", "gemma3"): ["*norm*"],
    ("freeze", "gpt2"): ["*.ln_*"],
    ("freeze", "bert"): ["*LayerNorm*"],
}
"""Patterns of the second `freeze` row by family, because a pattern that matches nothing is an error."""
NO_EFFECT = "softmax does not see a constant added to every score of a query: the gradient is zero but for rounding"
MAY_REST = {"key.bias": NO_EFFECT, "key.base_layer.bias": NO_EFFECT}
"""Trained parameters that need not move, and why."""


def test_every_method_has_a_row() -> None:
    assert set(ROWS) == set(TABLE)


def method_for(part: Part, family: str) -> Method:
    fields = dict(part.fields)
    if "train" in fields:
        fields["train"] = NO_MATCH[part.name, family]
    return build(TABLE, Part(name=part.name, **fields))


def label(part: Part) -> str:
    return "-".join([part.name, *(f"{key}={value}" for key, value in part.fields.items() if key != "train")])


each = pytest.mark.parametrize("part", METHODS, ids=label)
family_each = pytest.mark.parametrize("family", FAMILIES)


def ids() -> torch.Tensor:
    return torch.randint(3, 320, (2, 9), generator=torch.Generator().manual_seed(4))


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=ids()).logits


def parameters(attached: Any) -> dict[str, torch.nn.Parameter]:
    groups = attached.groups()
    merged = {name: parameter for group in groups for name, parameter in group.parameters.items()}
    assert len(merged) == sum(len(group.parameters) for group in groups), "a parameter is in two groups"
    assert len({id(parameter) for parameter in merged.values()}) == len(merged)
    return merged


def train(model: Any, attached: Any, steps: int = 2) -> None:
    """A few updates of plain SGD on next-token loss."""
    model.train()
    optimizer = torch.optim.SGD(parameters(attached).values(), lr=0.3)
    for _ in range(steps):
        out = model(input_ids=ids()).logits
        torch.nn.functional.cross_entropy(out[:, :-1].flatten(0, 1).float(), ids()[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


def values(attached: Any) -> Mapping[str, torch.Tensor]:
    return {name: parameter.detach().float().clone() for name, parameter in parameters(attached).items()}


@family_each
@each
def test_step_zero_is_the_base_bit_for_bit(part: Part, family: str) -> None:
    model = tiny(family)
    before = logits(model)
    attached = method_for(part, family).attach(model)
    assert attached.identity
    assert torch.equal(logits(model), before)


@family_each
@each
def test_only_its_parameters_have_gradients_and_move(part: Part, family: str) -> None:
    model = tiny(family)
    attached = method_for(part, family).attach(model)
    mine = {id(parameter) for parameter in parameters(attached).values()}
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if id(p) not in mine}
    wanted = {id(p) for p in model.parameters() if p.requires_grad}
    assert wanted == mine
    start = values(attached)
    train(model, attached)
    for name, parameter in model.named_parameters():
        if name in frozen:
            assert torch.equal(parameter, frozen[name]), name
    still = [name for name, value in values(attached).items() if torch.equal(value, start[name])]
    assert not [name for name in still if not any(word in name for word in MAY_REST)]


@family_each
@each
def test_off_is_the_base_bit_for_bit(part: Part, family: str) -> None:
    model = tiny(family)
    before = logits(model)
    attached = method_for(part, family).attach(model)
    train(model, attached)
    after = logits(model)
    assert not torch.allclose(after, before, atol=1e-3)
    with attached.off():
        off = logits(model)
    assert torch.equal(off, before if attached.artifact == "adapter" else after)
    assert torch.equal(logits(model), after)


@family_each
@each
def test_merged_is_the_adapted_model(part: Part, family: str) -> None:
    model = tiny(family)
    names = list(model.state_dict())
    attached = method_for(part, family).attach(model)
    train(model, attached)
    after = logits(model)
    merged = attached.merge()
    assert list(merged.state_dict()) == names
    # float32 sums in another order; logits are up to a few units
    torch.testing.assert_close(logits(merged), after, atol=1e-5, rtol=1e-5)


@family_each
@each
def test_saved_and_loaded_is_exact(part: Part, family: str, tmp_path: Path) -> None:
    model = tiny(family)
    attached = method_for(part, family).attach(model)
    train(model, attached)
    attached.save(tmp_path, values(attached))
    torch.manual_seed(77)
    fresh = tiny(family)
    again = method_for(part, family).attach(fresh)
    again.load(tmp_path)
    for name, value in values(attached).items():
        assert torch.equal(values(again)[name], value), name
    assert torch.equal(logits(fresh), logits(model))


@each
def test_another_shape_is_refused(part: Part, tmp_path: Path) -> None:
    from transformers import LlamaForCausalLM

    from tunesmith.errors import UserError

    model = tiny("llama")
    attached = method_for(part, "llama").attach(model)
    attached.save(tmp_path, values(attached))
    config = copy.deepcopy(model.config)
    config.hidden_size, config.intermediate_size = 32, 48
    other = method_for(part, "llama").attach(LlamaForCausalLM(config))
    before = values(other)
    with pytest.raises(UserError) as caught:
        other.load(tmp_path)
    assert caught.value.code in ("adapter-mismatch", "model-mismatch")
    assert all(torch.equal(value, before[name]) for name, value in values(other).items()), "nothing landed"


@each
def test_bfloat16_trains_and_stays_finite(part: Part) -> None:
    model = tiny("llama").to(torch.bfloat16)
    attached = method_for(part, "llama").attach(model)
    assert {parameter.dtype for parameter in parameters(attached).values()} == {torch.bfloat16}
    train(model, attached, steps=3)
    assert logits(model).isfinite().all()
    assert all(value.isfinite().all() for value in values(attached).values())


@pytest.mark.parametrize("part", ROWS["lora"], ids=label)
def test_two_seeds_differ_and_one_repeats(part: Part) -> None:
    def start(seed: int) -> Mapping[str, torch.Tensor]:
        model = tiny("llama")
        torch.manual_seed(seed)
        return values(method_for(part, "llama").attach(model))

    first, same, second = start(1), start(1), start(2)
    drawn = [name for name in first if "lora_A" in name]
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not any(torch.equal(first[name], second[name]) for name in drawn)


@pytest.mark.parametrize("part", ROWS["lora"], ids=label)
def test_evaluation_is_deterministic(part: Part) -> None:
    model = tiny("llama")
    attached = method_for(part, "llama").attach(model)
    train(model, attached)
    assert torch.equal(logits(model), logits(model))
    model.train()
    assert torch.equal(logits(model), logits(model)) == ("dropout" not in part.fields)
