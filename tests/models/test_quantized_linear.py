"""The packed layer: its product and gradients, what it saves, what `.to` may change, what is stored."""

from __future__ import annotations

import copy
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from tunesmith.models.linears import PackedLinear, is_linear, view
from tunesmith.models.quantized import KINDS
from tunesmith.models.quantized.linear import QuantizedLinear
from tunesmith.models.quantized.model import dense_linear, dequantized, quantize_linear

each = pytest.mark.parametrize("kind", list(KINDS))


def layer(kind: str, inner: int = 96, outer: int = 40, *, bias: bool = True) -> QuantizedLinear:
    torch.manual_seed(0)
    return quantize_linear(nn.Linear(inner, outer, bias=bias), kind)


def bytes_of(module: QuantizedLinear) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.tensors.items()}


def unchanged(module: QuantizedLinear, before: dict[str, torch.Tensor]) -> bool:
    now = module.tensors
    return all(now[name].dtype == before[name].dtype and torch.equal(now[name], before[name]) for name in before)


@each
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [(), (7,), (2, 3)])
def test_product_and_gradients_are_those_of_the_dense_weight(kind: str, bias: bool, rows: tuple[int, ...]) -> None:
    packed = layer(kind, bias=bias)
    dense = dense_linear(packed)
    assert isinstance(dense, nn.Linear)
    x = torch.randn(*rows, 96, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    weight = torch.randn(*rows, 40)
    (packed(x) * weight).sum().backward()
    (dense(y) * weight).sum().backward()
    assert torch.equal(packed(x), dense(y))
    assert torch.equal(x.grad, y.grad)
    if bias:
        assert torch.allclose(packed.bias.grad, dense.bias.grad, atol=1e-6)


def test_nothing_is_saved_for_backward() -> None:
    saved: list[torch.Tensor] = []
    packed, x = layer("nf4"), torch.randn(5, 96, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        packed(x).backward(torch.ones(5, 40))
    assert not saved


def test_layers_that_share_memory_do_not_mix() -> None:
    """Two weights above the bound for shared memory, forward before both backwards, and the same in two threads."""
    first, second = layer("nf4", 1100, 1000), layer("nf4-double", 1000, 1100)
    dense = nn.Sequential(dense_linear(first), dense_linear(second))
    packed = nn.Sequential(first, second)
    inputs = [torch.randn(3, 1100) for _ in range(2)]

    def gradient(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        x = x.clone().requires_grad_()
        model(x).square().sum().backward()
        return x.grad

    expected = [gradient(dense, x) for x in inputs]
    found: dict[int, list[torch.Tensor]] = {}

    def work(number: int) -> None:
        found[number] = [gradient(packed, inputs[number]) for _ in range(5)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(one, expected[number]) for number, many in found.items() for one in many)


@each
def test_casting_sets_the_dtype_it_computes_in_and_nothing_else(kind: str) -> None:
    packed = layer(kind)
    before, exact = bytes_of(packed), packed.dense()
    casts: list[tuple[Any, torch.dtype]] = [
        (lambda m: m.to(torch.bfloat16), torch.bfloat16),
        (lambda m: m.half(), torch.float16),
        (lambda m: nn.Sequential(m).double()[0], torch.float64),
        (lambda m: m.type(torch.bfloat16), torch.bfloat16),
        (lambda m: m.float(), torch.float32),
    ]
    for cast, dtype in casts:
        packed = cast(packed)
        assert packed.dtype == packed.weight.dtype == packed.bias.dtype == view(packed).dtype == dtype
        assert unchanged(packed, before)
        assert torch.equal(packed.dense(), exact.to(dtype))
        assert packed(torch.randn(2, 96, dtype=dtype)).dtype == dtype
    assert torch.equal(packed.dense(), exact)


def test_moving_takes_everything_along() -> None:
    packed = layer("nf4-double").to("meta")
    assert packed.device.type == "meta"
    assert {tensor.device.type for tensor in (*packed.tensors.values(), packed.bias)} == {"meta"}


@each
def test_a_stored_state_is_read_back_exactly(kind: str, tmp_path: Path) -> None:
    packed = layer(kind)
    save_file(packed.state_dict(), tmp_path / "state.safetensors")
    torch.manual_seed(9)
    other = quantize_linear(nn.Linear(96, 40), kind).to(torch.bfloat16)
    other.load_state_dict(load_file(tmp_path / "state.safetensors"))
    assert unchanged(other, bytes_of(packed))
    assert torch.equal(other.bias, packed.bias.bfloat16())
    with pytest.raises(RuntimeError, match="weight"):
        packed.load_state_dict(nn.Linear(96, 40).state_dict())
    assert torch.equal(copy.deepcopy(packed).dense(), packed.dense())


def test_under_autocast_it_computes_in_the_dtype_of_autocast() -> None:
    packed = layer("nf4")
    dense = dense_linear(packed)
    x = torch.randn(5, 96, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = packed(x), dense(y)
    assert ours.dtype == torch.bfloat16
    assert torch.equal(ours, theirs)
    ours.sum().backward()
    theirs.sum().backward()
    assert x.grad.dtype == torch.float32
    assert torch.equal(x.grad, y.grad)


@each
def test_the_view_is_that_of_any_linear(kind: str) -> None:
    packed = layer(kind)
    base, rows, grad = view(packed), torch.randn(3, 96), torch.randn(3, 40)
    assert is_linear(packed)
    assert isinstance(base, PackedLinear)
    assert (base.in_features, base.out_features, base.bias) == (96, 40, packed.bias)
    assert torch.equal(base.forward(rows), functional.linear(rows, base.dense(), base.bias))
    assert torch.equal(base.grad_input(grad), grad @ base.dense())
    with pytest.raises(TypeError, match="dequantize_model"):
        base.add_(torch.zeros(40, 96))


def test_only_the_bias_is_a_parameter_and_it_is_the_same_one() -> None:
    linear = nn.Linear(96, 40)
    packed = quantize_linear(linear, "nf4")
    assert dict(packed.named_parameters()) == {"bias": linear.bias}
    assert packed.bias is linear.bias
    assert not any(tensor.requires_grad for tensor in (*packed.tensors.values(), packed.weight))


@each
def test_kept_dense_it_answers_and_learns_the_same(kind: str) -> None:
    packed = layer(kind)
    x = torch.randn(4, 96, requires_grad=True)
    outside = packed(x)
    with dequantized(packed):
        with dequantized(packed):
            pass
        assert packed.kept is not None
        assert packed.dense() is packed.kept
        inside = packed(x)
        packed.to(torch.float64)
        assert packed.kept.dtype == torch.float64
    assert packed.kept is None
    assert torch.equal(outside, inside)
    first, second = (torch.autograd.grad(out.sum(), x)[0] for out in (outside, inside))
    packed.float()
    assert torch.equal(first, second)
