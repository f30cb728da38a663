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
from task_adapters import trained_adapters
from tunesmith.contracts.method import Method
from tunesmith.errors import UserError
from tunesmith.methods import TABLE
from tunesmith.recipe.parts import build
from tunesmith.recipe.schema import Part

ROWS: dict[str, list[Part]] = {
    "adapter": [
        Part(name="adapter", kind="houlsby", reduction=8),
        Part(name="adapter", kind="pfeiffer", size=5, activation="gelu", dropout=0.2),
        Part(name="adapter", kind="parallel", activation="silu"),
    ],
    "fusion": [Part(name="fusion")],
    "full": [Part(name="full"), Part(name="full", layer_decay=0.8)],
    "freeze": [
        Part(name="freeze", top_layers=1),
        Part(name="freeze", top_layers=0, head=False, train=["*norm*", "*.ln_*", "*LayerNorm*"]),
    ],
    "lora": [
        Part(name="lora", rank=4),
        Part(name="lora", rank=3, rslora=True, dropout=0.2, targets="attention"),
        Part(name="lora", rank=2, bias="all", targets="mlp"),
        Part(name="lora", rank=2, bias="lora_only"),
        Part(name="lora", rank=4, dora=True),
        Part(name="lora", rank=3, dora=True, dropout=0.2, bias="lora_only", targets="mlp"),
        Part(name="lora", rank=4, init="pissa"),
        Part(name="lora", rank=4, init="pissa-fast", dora=True, rslora=True),
        Part(name="lora", rank=4, init="orthogonal", b_rate=4.0),
        Part(name="lora", rank=4, init="gaussian", layers=[1], rank_pattern={r".*mlp\..*|.*dense": 2}),
        Part(name="lora", rank=4, init="loftq"),
    ],
    "adalora": [
        Part(name="adalora", target_rank=4),
        Part(name="adalora", target_rank=2, rank=2, dropout=0.2, targets="attention"),
    ],
    "ia3": [Part(name="ia3")],
    "bitfit": [Part(name="bitfit"), Part(name="bitfit", add=True, targets="attention")],
    "norms": [Part(name="norms"), Part(name="norms", targets="blocks")],
    "peft": [Part(name="peft:LORA", options={"r": 4})],
    "prompt": [Part(name="prompt", tokens=4), Part(name="prompt", tokens=3, start="random")],
    "p-tuning": [Part(name="p-tuning", tokens=4), Part(name="p-tuning", tokens=3, encoder="lstm", width=24)],
    "prefix": [
        Part(name="prefix", tokens=4, width=24),
        Part(name="prefix", tokens=3, width=24, start="random"),
    ],
    "p-tuning-v2": [Part(name="p-tuning-v2", tokens=4), Part(name="p-tuning-v2", tokens=3, start="random")],
}
VIRTUAL = ("prompt", "p-tuning", "prefix", "p-tuning-v2")
NO_MERGE = {
    "adapter": "an activation lies between its two matrices",
    "fusion": "its weights depend on the input",
    **dict.fromkeys(VIRTUAL, "virtual tokens are inputs and not weights"),
}
"""Methods that no plain model equals, and why: merging is refused."""
NOT_THE_BASE = {
    "fusion": "starts as the mean of trained adapters",
    **dict.fromkeys(VIRTUAL, "every token sees the virtual ones from the first step on"),
}
"""Methods that do not promise the base's outputs at step 0, and why."""
NEARER = {"loftq": "quantizes the layers it adapts and starts with what that loses"}
"""Starts of LoRA that are not the base, and why."""
FROM_THE_WEIGHT = ("pissa", "pissa-fast", "loftq")
"""Starts of LoRA that are the weight's own singular vectors, whatever the seed."""
STORED_OTHERWISE = dict.fromkeys(("p-tuning", "prefix"), "the network is dropped; what it computed is stored")
"""Methods whose folder does not hold what was trained, and why: the numbers are equal, the parameters are not."""
OWN_SHAPE = {"fusion": "reads its adapters when it is attached, so another model is refused there"}
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
NO_BIASES = {("bitfit", family): {"add": True} for family in ("llama", "phi3", "gemma3")}
"""Options by family: these have no bias terms, so `bitfit` alone is refused."""
NO_PLACE = {
    ("bitfit", "phi3"): "its config has no setting that gives linears a bias",
    ("bitfit-add=True-targets=attention", "phi3"): "its config has no setting that gives linears a bias",
    ("bitfit", "gemma3"): "its config has a setting for biases of attention, none for those of the MLP",
}
"""Rows and families whose plain model cannot hold what was trained, and why: merging is refused."""
NO_EFFECT = "softmax does not see a constant added to every score of a query: the gradient is zero but for rounding"
MAY_REST = {"key.bias": NO_EFFECT, "key.base_layer.bias": NO_EFFECT}
"""Trained parameters that need not move, and why."""
FLOAT32 = "magnitude_vector"
"""DoRA's magnitudes stay float32, because bfloat16 has no step finer than 0.4% of a row's length."""


def test_every_method_has_a_row() -> None:
    programmes = {name for name in TABLE if hasattr(TABLE.load(name), "stages")}
    assert set(ROWS) == set(TABLE) - programmes


def method_for(part: Part, family: str) -> Method:
    fields = dict(part.fields)
    if "train" in fields:
        fields["train"] = NO_MATCH[part.name, family]
    if part.name == "fusion":
        fields["adapters"] = trained_adapters(family)
    fields.update(NO_BIASES.get((part.name, family), {}))
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
    assert attached.identity == (part.name not in NOT_THE_BASE and part.fields.get("init") not in NEARER)
    assert torch.equal(logits(model), before) == attached.identity


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
    if part.fields.get("init") in NEARER:
        with attached.off():
            before = logits(model)
    train(model, attached)
    after = logits(model)
    assert not torch.allclose(after, before, atol=2e-5)  # ten times the rounding of a logit
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
    if part.name in NO_MERGE or (label(part), family) in NO_PLACE:
        with pytest.raises(UserError) as caught:
            attached.merge()
        assert caught.value.code == "cannot-merge"
        assert torch.equal(logits(model), after)
        return
    merged = attached.merge()
    gained = [name for name in merged.state_dict() if name not in names]
    assert [name for name in merged.state_dict() if name not in gained] == names
    assert bool(gained) == ((part.name, family) in NO_BIASES), "only an added bias is new to the base"
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
    if part.name not in STORED_OTHERWISE:
        for name, value in values(attached).items():
            assert torch.equal(values(again)[name], value), name
    assert torch.equal(logits(fresh), logits(model))


@each
def test_another_shape_is_refused(part: Part, tmp_path: Path) -> None:
    from transformers import LlamaForCausalLM

    model = tiny("llama")
    attached = method_for(part, "llama").attach(model)
    attached.save(tmp_path, values(attached))
    config = copy.deepcopy(model.config)
    config.hidden_size, config.intermediate_size, config.num_key_value_heads = 32, 48, 4
    if part.name in OWN_SHAPE:
        with pytest.raises(UserError, match="does not fit this model"):
            method_for(part, "llama").attach(LlamaForCausalLM(config))
        return
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
    dtypes = {parameter.dtype for name, parameter in parameters(attached).items() if not name.endswith(FLOAT32)}
    assert dtypes == {torch.bfloat16}
    train(model, attached, steps=3)
    assert logits(model).isfinite().all()
    assert all(value.isfinite().all() for value in values(attached).values())


@pytest.mark.parametrize(
    "part",
    [part for part in ROWS["lora"] + ROWS["adalora"] if part.fields.get("init") not in FROM_THE_WEIGHT],
    ids=label,
)
def test_two_seeds_differ_and_one_repeats(part: Part) -> None:
    def start(seed: int) -> Mapping[str, torch.Tensor]:
        model = tiny("llama")
        torch.manual_seed(seed)
        return values(method_for(part, "llama").attach(model))

    first, same, second = start(1), start(1), start(2)
    drawn = [name for name in first if "lora_A" in name]
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not any(torch.equal(first[name], second[name]) for name in drawn)


@pytest.mark.parametrize("part", ROWS["lora"] + ROWS["adalora"], ids=label)
def test_evaluation_is_deterministic(part: Part) -> None:
    model = tiny("llama")
    attached = method_for(part, "llama").attach(model)
    train(model, attached)
    assert torch.equal(logits(model), logits(model))
    model.train()
    assert torch.equal(logits(model), logits(model)) == ("dropout" not in part.fields)
