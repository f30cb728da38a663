"""(IA)³: what is scaled where, against the formulas, and which layers are chosen by default."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from families import tiny
from tunesmith.errors import UserError
from tunesmith.methods.ia3 import Ia3, ScaledInput, ScaledOutput
from tunesmith.methods.insert import merged_base


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(6, 4).double().requires_grad_(False)


def scaled(kind: type[ScaledOutput] | type[ScaledInput]) -> Any:
    layer = kind(linear())
    with torch.no_grad():
        layer.ia3_l.copy_(torch.randn(layer.ia3_l.shape, generator=torch.Generator().manual_seed(1)))
    return layer


X = torch.randn(3, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def test_outputs_are_scaled_with_their_bias() -> None:
    layer = scaled(ScaledOutput)
    base = linear()
    torch.testing.assert_close(layer(X), (X @ base.weight.t() + base.bias) * layer.ia3_l.flatten())
    layer(X).sum().backward()
    torch.testing.assert_close(layer.ia3_l.grad.flatten(), functional.linear(X, base.weight, base.bias).sum(0))


def test_inputs_are_scaled_and_the_bias_is_not() -> None:
    layer = scaled(ScaledInput)
    base = linear()
    torch.testing.assert_close(layer(X), (X * layer.ia3_l.flatten()) @ base.weight.t() + base.bias)


@pytest.mark.parametrize("kind", [ScaledOutput, ScaledInput])
def test_a_merged_layer_is_the_scaled_one(kind: Any) -> None:
    """In float64, weight and bias; the bias of a scaled input stays."""
    layer = scaled(kind)
    expected = layer(X).detach()
    merged = merged_base(layer)
    torch.testing.assert_close(merged(X), expected, atol=1e-14, rtol=1e-14)
    assert torch.equal(merged.bias, linear().bias) == (kind is ScaledInput)


@pytest.mark.parametrize(
    ("family", "outputs", "inputs"),
    [
        ("llama", ["k_proj", "v_proj"], ["down_proj"]),
        ("gemma3", ["k_proj", "v_proj"], ["down_proj"]),
        ("phi3", ["qkv_proj"], ["down_proj"]),
        ("gpt2", ["c_attn"], ["mlp.c_proj"]),
        ("bert", ["key", "value"], ["0.output.dense", "1.output.dense"]),
    ],
)
def test_the_default_is_keys_values_and_inner_activations(family: str, outputs: list[str], inputs: list[str]) -> None:
    model = tiny(family)
    attached = Ia3().attach(model)
    assert attached.endings == (outputs, inputs)
    config = attached.file_config()
    assert config["feedforward_modules"] == inputs
    assert config["target_modules"] == sorted([*outputs, *inputs])
    reads = {path for path, layer in attached.layers.items() if isinstance(layer, ScaledInput)}
    assert len(attached.layers) == 2 * (len(outputs) + 1)
    assert len(reads) == 2


def test_a_list_says_what_is_scaled() -> None:
    attached = Ia3(targets=["q_proj", "up_proj"], feedforward=["up_proj"]).attach(tiny("llama"))
    assert attached.endings == (["q_proj"], ["up_proj"])
    assert Ia3(targets=["q_proj", "up_proj"]).attach(tiny("llama")).endings == (["q_proj", "up_proj"], [])
    with pytest.raises(UserError, match="no linear layer"):
        Ia3(targets=["k_prj"]).attach(tiny("llama"))


def test_a_tiny_share_of_the_parameters_is_trained() -> None:
    model = tiny("llama")
    attached = Ia3().attach(model)
    # two blocks: keys and values of two heads of 16, inner width 96
    assert sum(p.numel() for p in attached.parameters.values()) == 2 * (32 + 32 + 96)
