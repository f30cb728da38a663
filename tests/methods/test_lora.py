"""LoRA's own promises: start, scaling, merge in float32, refusals, and use in a loop of one's own."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from families import tiny
from tunesmith.errors import UserError
from tunesmith.methods.freeze import Freeze
from tunesmith.methods.lora import Lora
from tunesmith.methods.lora_layer import LoraLinear


def test_the_start_is_that_of_the_paper() -> None:
    torch.manual_seed(0)
    layer = LoraLinear(torch.nn.Linear(400, 30), Lora(rank=64))
    assert not layer.lora_B.any()
    bound = 1 / math.sqrt(400)
    assert layer.lora_A.detach().abs().max() <= bound
    # a uniform on ±b has the standard deviation b/√3; 25,600 draws know it to about 0.3%
    assert float(layer.lora_A.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.01)


@pytest.mark.parametrize(("rslora", "expected"), [(False, 32 / 16), (True, 32 / 4)])
def test_scaling(rslora: bool, expected: float) -> None:
    assert Lora(rank=16, alpha=32, rslora=rslora).scaling == expected


def test_delta_and_merge_round_once() -> None:
    """The merged bfloat16 weight is the float32 sum, rounded: no error but the last rounding."""
    model = tiny("llama").to(torch.bfloat16)
    attached = Lora(rank=4).attach(model)
    layer = attached.layers["model.layers.0.self_attn.q_proj"]
    torch.nn.init.normal_(layer.lora_B)
    exact = layer.weight.double() + 8.0 * layer.lora_B.double() @ layer.lora_A.double()
    merged = attached.merge().model.layers[0].self_attn.q_proj.weight
    assert merged.dtype == torch.bfloat16
    # half a unit in the last place of bfloat16 (8 bits), and the rounding of the float32 sum of numbers around 3
    assert bool(((merged.double() - exact).abs() <= exact.abs() * 2**-8 + 1e-6).all())


def test_names_are_those_of_peft() -> None:
    attached = Lora(targets=["q_proj"], bias="none").attach(tiny("llama"))
    (group,) = attached.groups()
    assert list(group.parameters)[:2] == [
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight",
    ]


def test_biases_are_not_decayed() -> None:
    attached = Lora(bias="lora_only").attach(tiny("gpt2"))
    matrices, biases = attached.groups()
    assert matrices.decay
    assert not biases.decay
    assert all(name.endswith("base_layer.bias") for name in biases.parameters)


def test_a_second_adapter_is_refused() -> None:
    model = tiny("llama")
    attached = Lora().attach(model)
    with pytest.raises(UserError, match="already carries an adapter"):
        Lora().attach(model)
    with pytest.raises(UserError, match="already carries an adapter"):
        Freeze(top_layers=1).attach(model)
    Lora().attach(attached.merge())


def test_a_tied_head_is_refused() -> None:
    with pytest.raises(UserError, match=r"lm_head shares its weight with transformer\.wte"):
        Lora(targets=["c_attn", "lm_head"]).attach(tiny("gpt2"))


def test_a_failed_attach_leaves_the_model_alone() -> None:
    model = tiny("gpt2")
    with pytest.raises(UserError):
        Lora(targets=["c_attn", "lm_head"]).attach(model)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_another_scaling_is_refused_at_load(tmp_path: Path) -> None:
    attached = Lora(rank=4, alpha=8).attach(tiny("llama"))
    (group,) = attached.groups()
    attached.save(tmp_path, {name: value.detach() for name, value in group.parameters.items()})
    other = Lora(rank=4, alpha=16).attach(tiny("llama"))
    with pytest.raises(UserError, match=r"another lora_alpha; got 8; allowed: 16"):
        other.load(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "missing", "json", "fewer"])
def test_damaged_folders_are_refused(damage: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    attached = Lora(rank=4).attach(tiny("llama"))
    (group,) = attached.groups()
    attached.save(tmp_path, {name: value.detach() for name, value in group.parameters.items()})
    weights = tmp_path / "adapter_model.safetensors"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "missing":
        weights.unlink()
    elif damage == "json":
        (tmp_path / "adapter_config.json").write_text("{")
    else:
        tensors = load_file(weights)
        tensors.popitem()
        save_file(tensors, weights)
    with pytest.raises(UserError) as caught:
        attached.load(tmp_path)
    expected = {"missing": "not-an-adapter", "fewer": "adapter-mismatch"}.get(damage, "corrupt-adapter")
    assert caught.value.code == expected
    if damage == "fewer":
        assert "27 of its 27 tensors land, 27 of the model's 28" in str(caught.value)


def test_no_backward_below_the_lowest_adapted_layer() -> None:
    model = tiny("llama")
    Lora(targets=["layers.1.mlp.*"]).attach(model)
    hidden = model(input_ids=torch.tensor([[5, 6, 7]]), output_hidden_states=True).hidden_states
    assert [state.requires_grad for state in hidden] == [False, False, True]


def test_in_a_loop_of_ones_own_it_equals_plain_torch() -> None:
    """Ten Adam steps on a whole model equal those of ``W + s·B·A`` written out in plain torch, in float64."""
    steps, ids = 10, torch.randint(3, 320, (2, 8), generator=torch.Generator().manual_seed(0))

    def loss_of(model: torch.nn.Module, **changed: object) -> torch.Tensor:
        out = torch.func.functional_call(model, changed, (ids,)).logits if changed else model(ids).logits
        return functional.cross_entropy(out[:, :-1].flatten(0, 1), ids[:, 1:].flatten())

    model = tiny("llama").double()
    attached = Lora(rank=4, alpha=8, targets=["q_proj", "down_proj"]).attach(model)
    (group,) = attached.groups()
    plain = {name: value.detach().clone().requires_grad_() for name, value in group.parameters.items()}
    optimizer = torch.optim.Adam(group.parameters.values(), lr=1e-2)
    mine = []
    for _ in range(steps):
        loss = loss_of(model)
        mine.append(float(loss.detach()))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    base = tiny("llama").double()
    weights = dict(base.named_parameters())
    optimizer, theirs = torch.optim.Adam(plain.values(), lr=1e-2), []
    for _ in range(steps):
        changed = {}
        for name, A in plain.items():
            if "lora_A" in name:
                path = name.removeprefix("base_model.model.").replace("lora_A.weight", "weight")
                changed[path] = weights[path].detach() + 2.0 * plain[name.replace("lora_A", "lora_B")] @ A
        loss = loss_of(base, **changed)
        theirs.append(float(loss.detach()))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert mine[-1] < mine[0] - 0.1
    assert mine == pytest.approx(theirs, abs=1e-10)
