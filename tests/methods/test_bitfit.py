"""BitFit and norms: which parameters they are, what is stored, which plain models can hold added biases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from families import tiny
from tunesmith.errors import UserError
from tunesmith.interop.folders import attach_folder
from tunesmith.methods.bitfit import Bitfit
from tunesmith.methods.folder import read_adapter
from tunesmith.methods.norms import Norms

IDS = torch.randint(3, 320, (2, 9), generator=torch.Generator().manual_seed(4))


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def trained(attached: Any) -> dict[str, nn.Parameter]:
    return {name: parameter for group in attached.groups() for name, parameter in group.parameters.items()}


def moved(attached: Any) -> Any:
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in trained(attached).values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return attached


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_all_biases_of_a_model_that_has_them(family: str) -> None:
    model = tiny(family)
    biases = {f"base_model.model.{name}" for name, _ in model.named_parameters() if name.endswith("bias")}
    attached = Bitfit().attach(model)
    assert set(trained(attached)) == biases
    assert all(not group.decay for group in attached.groups())
    assert not attached.layers


def test_a_bias_stored_under_two_names_is_one() -> None:
    model = tiny("bert")
    head = model.cls.predictions
    assert head.bias is head.decoder.bias
    assert (
        len([name for name in trained(Bitfit().attach(model)) if "predictions" in name and "transform" not in name])
        == 1
    )


def test_a_model_without_biases_is_refused_with_the_way_out() -> None:
    model = tiny("llama")
    with pytest.raises(UserError, match="add: true") as caught:
        Bitfit().attach(model)
    assert caught.value.code == "no-biases"
    assert all(parameter.requires_grad for parameter in model.parameters()), "the model is left alone"


@pytest.mark.parametrize(("targets", "count"), [("all-linear", 14), ("attention", 8), (["q_proj"], 2)])
def test_added_biases(targets: Any, count: int, tmp_path: Path) -> None:
    model = tiny("llama")
    before = logits(model)
    attached = Bitfit(add=True, targets=targets).attach(model)
    assert len(trained(attached)) == len(attached.layers) == count
    moved(attached).save(tmp_path, trained(attached))
    config, tensors = read_adapter(tmp_path)
    assert config["peft_type"] == "BITFIT"
    assert all(name.endswith("_proj.bias") for name in tensors)
    again = tiny("llama")
    attach_folder(again, tmp_path)
    assert torch.equal(logits(again), logits(model))
    attached.remove()
    assert torch.equal(logits(model), before)


def test_biases_of_the_base_are_given_back(tmp_path: Path) -> None:
    model = tiny("gpt2")
    before = logits(model)
    attached = moved(Bitfit().attach(model))
    after = logits(model)
    attached.save(tmp_path, trained(attached))
    assert all(name.endswith("bias") for name in read_adapter(tmp_path)[1])
    again = tiny("gpt2")
    attach_folder(again, tmp_path)
    assert torch.equal(logits(again), after)
    attached.remove()
    assert torch.equal(logits(model), before)
    attached.insert()
    assert torch.equal(logits(model), after)


@pytest.mark.parametrize(
    ("family", "targets", "switches"),
    [
        ("llama", "all-linear", {"attention_bias": True, "mlp_bias": True}),
        ("llama", ["q_proj"], {"attention_bias": True, "mlp_bias": False}),
        ("llama", "mlp", {"attention_bias": False, "mlp_bias": True}),
        ("qwen3", "attention", {"attention_bias": True}),
    ],
)
def test_a_merged_model_is_an_ordinary_one(
    family: str, targets: Any, switches: dict[str, bool], tmp_path: Path
) -> None:
    """Saved and loaded by transformers with every tensor in its place; biases nobody trained are zero."""
    model = tiny(family)
    attached = moved(Bitfit(add=True, targets=targets).attach(model))
    after = logits(model)
    plain: Any = attached.merge()
    assert {name: getattr(plain.config, name) for name in switches} == switches
    plain.save_pretrained(tmp_path)
    loaded, report = type(plain).from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    torch.testing.assert_close(logits(loaded.eval()), after, atol=1e-5, rtol=1e-5)
    if targets == ["q_proj"]:
        assert not plain.model.layers[0].self_attn.o_proj.bias.any()


@pytest.mark.parametrize("family", ["mistral", "phi3"])
def test_an_architecture_without_a_place_is_not_merged(family: str) -> None:
    model = tiny(family)
    attached = moved(Bitfit(add=True, targets="attention").attach(model))
    after = logits(model)
    with pytest.raises(UserError, match=r"no place for a bias of model\.layers\.0\.self_attn") as caught:
        attached.merge()
    assert caught.value.code == "cannot-merge"
    assert torch.equal(logits(model), after), "the model is left as it was"


def test_new_heads_are_trained_beside_the_biases() -> None:
    names = set(trained(Bitfit().attach(tiny("gpt2"), heads=["lm_head"])))
    assert "base_model.model.lm_head.weight" in names


@pytest.mark.parametrize(
    ("family", "targets", "endings", "count"),
    [
        ("llama", "all", ["input_layernorm", "norm", "post_attention_layernorm"], 5),
        ("llama", "blocks", ["input_layernorm", "post_attention_layernorm"], 4),
        ("llama", ["norm"], ["norm"], 1),
        ("gpt2", "all", ["ln_1", "ln_2", "ln_f"], 10),
        ("qwen3", "all", ["input_layernorm", "k_norm", "norm", "post_attention_layernorm", "q_norm"], 9),
        ("bert", "all", ["LayerNorm"], 12),
    ],
)
def test_norms_by_family(family: str, targets: Any, endings: list[str], count: int) -> None:
    attached = Norms(targets=targets).attach(tiny(family))
    assert attached.endings == endings
    names = trained(attached)
    assert len(names) == count
    assert all(".ln_tuning_layers." in name and parameter.ndim == 1 for name, parameter in names.items())


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(UserError, match="Did you mean 'input_layernorm'") as caught:
        Norms(targets=["input_layrnorm"]).attach(tiny("llama"))
    assert caught.value.code == "unknown-norm"
    with pytest.raises(UserError, match="nothing would be trained"):
        Norms(targets=[]).attach(tiny("llama"))


def test_norms_of_a_new_head_are_stored_once() -> None:
    names = list(trained(Norms().attach(tiny("bert"), heads=["cls"])))
    assert "base_model.model.cls.predictions.transform.LayerNorm.weight" in names
    assert not any("cls" in name and "ln_tuning_layers" in name for name in names)
