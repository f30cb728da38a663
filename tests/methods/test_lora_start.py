"""Starts of LoRA: PiSSA and LoftQ against their definitions, and what the others promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from families import tiny
from tunesmith.errors import UserError
from tunesmith.interop.peft import load_adapter
from tunesmith.methods.folder import read_adapter
from tunesmith.methods.lora import Lora
from tunesmith.methods.lora_layer import LoraLinear
from tunesmith.methods.lora_start import principal
from tunesmith.models.linears import view
from tunesmith.models.quantized.model import quantize_model

PATH = "model.layers.0.self_attn.q_proj"


def linear(out: int = 40, width: int = 64) -> nn.Linear:
    torch.manual_seed(1)
    module = nn.Linear(width, out).requires_grad_(False)
    # singular values that fall by a tenth each
    U, _ = torch.linalg.qr(torch.randn(out, 30))
    V, _ = torch.linalg.qr(torch.randn(width, 30))
    module.weight.copy_(U * 0.9 ** torch.arange(30) @ V.t())
    return module


def test_gaussian_and_orthogonal_starts() -> None:
    torch.manual_seed(0)
    layer = LoraLinear(nn.Linear(4000, 30), Lora(rank=16, init="gaussian"))
    assert float(layer.lora_A.detach().std()) == pytest.approx(1 / 16, rel=0.02)  # 64,000 draws: known to 0.3%
    assert not layer.lora_B.any()
    layer = LoraLinear(nn.Linear(64, 30), Lora(rank=6, init="orthogonal"))
    assert not (layer.lora_B @ layer.lora_A).any()
    assert torch.linalg.matrix_rank(layer.lora_A) == torch.linalg.matrix_rank(layer.lora_B) == 3


def test_principal_is_the_best_approximation() -> None:
    """By Eckart and Young the squared error is the sum of the squares of the other singular values."""
    weight, rank, scaling = linear().weight.double(), 5, 1.7
    A, B = principal(weight, rank, scaling, fast=False)
    values = torch.linalg.svdvals(weight)
    error = weight - scaling * B @ A
    assert float(error.square().sum()) == pytest.approx(float(values[rank:].square().sum()), rel=1e-9)
    # both factors carry the root of the singular values
    torch.testing.assert_close(scaling * A.norm(dim=1).square(), values[:rank])
    torch.testing.assert_close(scaling * B.norm(dim=0).square(), values[:rank])
    fast_A, fast_B = principal(weight, rank, scaling, fast=True)
    torch.testing.assert_close(fast_B @ fast_A, B @ A, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pissa_is_the_paper_s_function(dtype: torch.dtype) -> None:
    """``x (W - s B₀A₀ + s B A)ᵀ``, gradients included, from an untouched base."""
    module = linear()
    weight = module.weight.double()
    layer = LoraLinear(module, Lora(rank=4, alpha=6, init="pissa"))
    x = torch.randn(9, 64)
    assert torch.equal(layer(x), module(x))
    assert torch.equal(layer.to(dtype)(x.to(dtype)), module(x.to(dtype))), "the start is the base in every dtype"
    layer.float()
    U, S, Vh = torch.linalg.svd(weight, full_matrices=False)
    residual = weight - U[:, :4] * S[:4] @ Vh[:4]
    with torch.no_grad():
        layer.lora_A.add_(torch.randn(4, 64) * 0.1)
        layer.lora_B.add_(torch.randn(40, 4) * 0.1)
    A, B = (matrix.detach().double().requires_grad_() for matrix in (layer.lora_A, layer.lora_B))
    expected = x.double() @ (residual + 1.5 * B @ A).t() + module.bias.double()
    got = layer(x)
    # a cast to bfloat16 and back rounds A, B and W, but not what the change is measured from
    bound = 1e-5 if dtype == torch.float32 else 5e-2
    torch.testing.assert_close(got.double(), expected, atol=bound, rtol=bound)
    upstream = torch.randn(9, 40)
    mine = torch.autograd.grad(got, [layer.lora_A, layer.lora_B], upstream)
    for left, right in zip(mine, torch.autograd.grad(expected, [A, B], upstream.double()), strict=True):
        torch.testing.assert_close(left.double(), right, atol=3e-5 if bound < 1e-3 else 0.5, rtol=bound)


@pytest.mark.parametrize("rslora", [False, True])
def test_pissa_is_stored_as_plain_lora_of_twice_the_rank(rslora: bool, tmp_path: Path) -> None:
    model = tiny("llama")
    before = model.get_submodule(PATH).weight.clone()
    attached = Lora(rank=3, alpha=5, rslora=rslora, init="pissa").attach(model)
    with torch.no_grad():
        for parameter in attached.parameters.values():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    attached.save(tmp_path, attached.parameters)
    config, tensors = read_adapter(tmp_path)
    assert config["r"] == 6
    scaling = config["lora_alpha"] / (6**0.5 if rslora else 6)
    assert scaling == pytest.approx(attached.config.scaling, rel=1e-12)
    product = (tensors[f"base_model.model.{PATH}.lora_{matrix}.weight"].double() for matrix in "BA")
    layer = attached.layers[PATH]
    assert isinstance(layer, LoraLinear)
    stored = scaling * torch.linalg.multi_dot(list(product))
    # a difference of two products of numbers around 1
    torch.testing.assert_close(stored.float(), layer.delta(), atol=1e-6, rtol=1e-5)
    assert torch.equal(layer.base_layer.weight, before)


def test_pissa_read_back_by_another_machine_keeps_its_own_origin(tmp_path: Path) -> None:
    """Another singular value decomposition may choose other signs: what was stored counts."""
    attached = Lora(rank=3, init="pissa").attach(tiny("llama"))
    attached.save(tmp_path, attached.parameters)
    model = tiny("llama")
    again = Lora(rank=3, init="pissa").attach(model)
    origin = again.layers[PATH].origin
    origin.A.neg_()
    origin.B.neg_()
    again.load(tmp_path)
    assert torch.equal(origin.A, attached.layers[PATH].origin.A)
    assert torch.equal(origin.B, attached.layers[PATH].origin.B)


def test_a_resumed_pissa_keeps_its_origin() -> None:
    attached = Lora(rank=3, init="pissa").attach(tiny("llama"))
    other = Lora(rank=3, init="pissa-fast").attach(tiny("llama", seed=1))
    assert not torch.equal(other.layers[PATH].origin.A, attached.layers[PATH].origin.A)
    other.restore(attached.state())
    assert torch.equal(other.layers[PATH].origin.A, attached.layers[PATH].origin.A)
    assert torch.equal(other.layers[PATH].origin.B, attached.layers[PATH].origin.B)
    assert not Lora(rank=3).attach(tiny("llama")).state()


@pytest.mark.parametrize("init", ["pissa", "pissa-fast", "loftq", "orthogonal"])
def test_parameters_lie_in_memory_as_files_hold_them(init: str) -> None:
    """Singular vectors come transposed; an optimizer's state read from a checkpoint would not match such parameters."""
    layer = LoraLinear(linear(), Lora(rank=4, init=init))
    assert layer.lora_A.is_contiguous()
    assert layer.lora_B.is_contiguous()


def test_a_plain_adapter_is_not_read_as_pissa(tmp_path: Path) -> None:
    plain = Lora(rank=3).attach(tiny("llama"))
    plain.save(tmp_path, plain.parameters)
    with pytest.raises(UserError, match="another r; got 3; allowed: 6"):
        Lora(rank=3, init="pissa").attach(tiny("llama")).load(tmp_path)


@pytest.mark.parametrize("kind", ["nf4", "nf4-double", "int8"])
def test_loftq_starts_nearer_to_the_weight_than_quantization(kind: str) -> None:
    torch.manual_seed(0)
    module = nn.Linear(64, 40).requires_grad_(False)
    weight = module.weight.clone()
    layer = LoraLinear(module, Lora(rank=6, init="loftq", loftq_kind=kind))
    lost = weight - view(layer.base_layer).dense()
    values = torch.linalg.svdvals(lost.double())
    error = float((lost - layer.delta()).square().sum())
    assert error == pytest.approx(float(values[6:].square().sum()), rel=1e-4)
    assert error < 0.8 * float(lost.square().sum())


def test_loftq_stands_on_the_base_that_quantizing_makes() -> None:
    model, quantized = tiny("llama"), tiny("llama")
    ids = torch.arange(3, 12)[None]
    attached = Lora(rank=4, init="loftq").attach(model)
    quantize_model(quantized, "nf4")
    with torch.no_grad(), attached.off():
        assert torch.equal(model(ids).logits, quantized(ids).logits)
    merged = attached.merge()
    assert list(merged.state_dict()) == list(tiny("llama").state_dict())


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ({"init": "pissa", "rank": 65}, "rank-too-large", "got 65; allowed: 1 to 32"),
        ({"rank": 99_999}, "rank-too-large", "k_proj"),
        ({"rank": 4, "rank_pattern": {"gate_proj": 65}}, "rank-too-large", "gate_proj (2 of 14 layers); got 65"),
        ({"init": "orthogonal", "rank": 5}, "odd-rank", "even ranks"),
        ({"init": "loftq", "loftq_kind": "nf5"}, "unknown-quantization", "nf4"),
    ],
)
def test_starts_that_do_not_fit_are_refused(options: dict[str, Any], code: str, said: str) -> None:
    model = tiny("llama")
    with pytest.raises(UserError) as caught:
        Lora(**options).attach(model)
    assert caught.value.code == code
    assert said in str(caught.value)
    assert all(parameter.requires_grad for parameter in model.parameters()), "the model is left alone"


def test_an_adapter_of_a_higher_rank_that_exists_already_is_read(tmp_path: Path) -> None:
    attached = Lora(rank=40).attach_stored(tiny("llama"))
    with torch.no_grad():
        attached.layers[PATH].lora_B.add_(0.1)
    attached.save(tmp_path, attached.parameters)
    again = load_adapter(tiny("llama"), tmp_path)
    assert torch.equal(again.layers[PATH].delta(), attached.layers[PATH].delta())


def test_loftq_needs_the_dense_weight_and_pissa_takes_what_there_is() -> None:
    model = tiny("llama").requires_grad_(False)
    quantize_model(model, "nf4")
    with pytest.raises(UserError, match=r"Set model\.quantize to none") as caught:
        Lora(init="loftq").attach(model)
    assert caught.value.code == "already-quantized"
    ids = torch.arange(3, 12)[None]
    with torch.no_grad():
        before = model(ids).logits
        Lora(init="pissa", rank=4).attach(model)
        assert torch.equal(model(ids).logits, before)
