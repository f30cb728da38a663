"""The probe catches models that are not exact when driven flat: each test plants one defect in a tiny model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from families import tiny
from tunesmith.errors import UserError
from tunesmith.models import probe


def drops_keywords(model: Any) -> None:
    """As stablelm and nemotron do: the layout never reaches attention."""
    for layer in model.model.layers:
        layer.self_attn.forward = partial(_without_layout, layer.self_attn.forward)


def _without_layout(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    kwargs.pop("layout", None)
    return forward(*args, **kwargs)


def mixes(shift: int, strength: float) -> Callable[[Any], None]:
    """As LFM2's convolution does: each token gets a little of its neighbour, over the border of segments too."""

    def plant(model: Any) -> None:
        def hook(_: Any, __: Any, out: torch.Tensor) -> torch.Tensor:
            return out + strength * F.pad(out, (0, 0, shift, -shift))

        model.model.layers[0].mlp.register_forward_hook(hook)

    return plant


def ignores_others(model: Any) -> None:
    """Attention gives nothing, so no layout can change anything."""
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.data.zero_()


def counts_positions_itself(model: Any) -> None:
    """As bart's encoder does: positions that are handed over are ignored."""
    model.transformer.wpe.register_forward_hook(lambda wpe, args, _: wpe.weight[torch.arange(args[0].shape[1])][None])


DEFECTS = {
    "keywords dropped": ("llama", drops_keywords, "layout"),
    "convolution forwards": ("llama", mixes(1, 1e-4), "differ"),
    "convolution backwards": ("llama", mixes(-1, 1e-4), "differ"),
    "no attention": ("llama", ignores_others, "ignores the layout"),
    "own positions": ("gpt2", counts_positions_itself, "differ"),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_found(name: str) -> None:
    family, plant, told = DEFECTS[name]
    model = tiny(family)
    plant(model)
    finding = probe.probe_flat(model)
    assert not finding.exact
    assert told in finding.why


@pytest.mark.parametrize("shift", [1, -1])
def test_a_leak_below_bfloat16_rounding_is_found_by_its_gradient(shift: int) -> None:
    model = tiny("llama").to(torch.bfloat16)
    assert probe.probe_flat(model).exact
    mixes(shift, 1e-4)(model)
    finding = probe.probe_flat(model)
    assert not finding.exact
    assert finding.leak > 0.0
    assert "another segment" in finding.why


def test_auto_falls_back_to_padded_and_flat_is_refused_by_name() -> None:
    model = tiny("llama")
    drops_keywords(model)
    chosen = probe.choose(model, "auto")
    assert chosen == probe.Choice("padded", probe.probe_flat(model).why)
    assert "layout" in chosen.why
    assert probe.choose(tiny("llama"), "auto") == probe.Choice("flat")
    assert probe.choose(tiny("llama"), "padded") == probe.Choice("padded")
    with pytest.raises(UserError, match="LlamaForCausalLM is not exact when driven flat") as caught:
        probe.choose(model, "flat")
    assert caught.value.code == "driver-not-exact"


def test_layers_that_mix_outside_attention_are_refused_without_a_run() -> None:
    model = tiny("llama")
    model.config.layer_types = ["full_attention", "linear_attention"]
    finding = probe.probe_flat(model)
    assert not finding.exact
    assert "linear_attention" in finding.why


def test_a_family_outside_the_attention_registry_is_refused() -> None:
    model = tiny("llama")
    model._supports_attention_backend = False
    assert "registry" in probe.probe_flat(model).why


@pytest.mark.parametrize("training", [True, False])
def test_the_probe_leaves_mode_and_gradients(training: bool) -> None:
    model = tiny("llama").train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert probe.choose(model, "auto").driver == "flat"
    assert model.training is training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("driver", ["auto", "flat", "padded"])
def test_a_head_of_unknown_making_is_refused(driver: str) -> None:
    model = tiny("llama")
    forward = model.forward

    def scaled(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        output.logits = output.logits * 0.5
        return output

    model.forward = scaled
    with pytest.raises(UserError, match="LlamaForCausalLM") as caught:
        probe.choose(model, driver)
    assert caught.value.code == "head-not-exact"


@pytest.mark.parametrize("family", ["granite", "cohere"])
def test_scaled_logits_are_those_of_the_family(family: str) -> None:
    """Granite divides, Cohere multiplies."""
    from transformers import CohereConfig, CohereForCausalLM, GraniteConfig, GraniteForCausalLM

    shape = {
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    torch.manual_seed(0)
    if family == "granite":
        model = GraniteForCausalLM(GraniteConfig(**shape, logits_scaling=3.0))
    else:
        model = CohereForCausalLM(CohereConfig(**shape, logit_scale=0.25))
    finding = probe.head_agrees(model)
    assert finding.exact, finding
    assert finding.difference < 1e-6
