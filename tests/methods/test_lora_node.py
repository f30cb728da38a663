"""The low-rank node against ordinary autograd in float64, and what it keeps for backward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers.pytorch_utils import Conv1D

from tunesmith.methods import lora_node
from tunesmith.methods.lora import Lora
from tunesmith.methods.lora_layer import LoraLinear
from tunesmith.methods.lora_node import Update, low_rank
from tunesmith.models.linears import view

IN, OUT, RANK, SCALING = 12, 10, 3, 0.7


def base_layer(kind: str, dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(1)
    module = Conv1D(OUT, IN) if kind == "conv1d" else nn.Linear(IN, OUT, bias=kind == "linear-bias")
    if module.bias is not None:
        nn.init.normal_(module.bias)
    nn.init.normal_(module.weight)
    module.weight.requires_grad_(False)
    return module.to(dtype)


def inputs(dtype: torch.dtype, shape: tuple[int, ...] = (2, 5)) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(2)
    drawn = [
        torch.randn(size, generator=generator, dtype=torch.float64) for size in ((*shape, IN), (RANK, IN), (OUT, RANK))
    ]
    return tuple(tensor.to(dtype).requires_grad_() for tensor in drawn)


def reference(x: torch.Tensor, A: torch.Tensor, B: torch.Tensor, module: nn.Module) -> torch.Tensor:
    weight = module.weight.t() if isinstance(module, Conv1D) else module.weight
    return functional.linear(x, weight, module.bias) + SCALING * (x @ A.t()) @ B.t()


@pytest.mark.parametrize("kind", ["linear", "linear-bias", "conv1d"])
@pytest.mark.parametrize("shape", [(7,), (2, 5), (1, 1), (2, 3, 4), (0,)])
def test_values_and_gradients_equal_float64_autograd(kind: str, shape: tuple[int, ...]) -> None:
    slow = base_layer(kind, torch.float64)
    fast = base_layer(kind, torch.float32)
    slow_in, fast_in = inputs(torch.float64, shape), inputs(torch.float32, shape)
    expected = reference(*slow_in, slow)
    got = low_rank(*fast_in, Update(view(fast), SCALING))
    assert got.shape == expected.shape
    # sums of at most 24 float32 products of numbers around 1
    torch.testing.assert_close(got.double(), expected, atol=1e-5, rtol=1e-5)
    upstream = torch.randn(expected.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    expected.backward(upstream)
    got.backward(upstream.float())
    pairs = list(zip(fast_in, slow_in, strict=True))
    if fast.bias is not None:
        pairs.append((fast.bias, slow.bias))
    for left, right in pairs:
        assert left.grad is not None
        torch.testing.assert_close(left.grad.double(), right.grad, atol=3e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["linear-bias", "conv1d"])
@pytest.mark.parametrize("seed", [None, 5])
def test_gradcheck(kind: str, seed: int | None) -> None:
    module = base_layer(kind, torch.float64)
    update = Update(view(module), SCALING, 0.4, seed)
    assert torch.autograd.gradcheck(lambda *args: low_rank(*args, update), inputs(torch.float64))


@pytest.mark.parametrize("kind", ["linear-bias", "conv1d"])
def test_bfloat16_is_finite_and_close(kind: str) -> None:
    module, x = base_layer(kind, torch.bfloat16), inputs(torch.bfloat16)
    got = low_rank(*x, Update(view(module), SCALING))
    got.sum().backward()
    expected = reference(*(tensor.detach().double() for tensor in x), module.double())
    # output rounded twice (base, sum), h once: 3 x 2^-9 of values up to about 30
    assert (got.double() - expected).abs().max() < 3 * 2**-9 * expected.abs().max()
    assert all(tensor.grad is not None and tensor.grad.isfinite().all() for tensor in x)
    assert got.dtype == torch.bfloat16


def test_no_input_gradient_where_none_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr(lora_node, "_grad_input", lambda *_: calls.append(1))
    module = base_layer("linear", torch.float32)
    x, A, B = inputs(torch.float32)
    low_rank(x.detach(), A, B, Update(view(module), SCALING)).sum().backward()
    assert not calls
    assert A.grad is not None


def saved(run: Any) -> dict[int, int]:
    """Bytes kept for backward by storage."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return kept


def test_layers_with_one_input_keep_it_once() -> None:
    module = base_layer("linear", torch.float32)
    (x, A, B), (_, A2, B2) = inputs(torch.float32), inputs(torch.float32)
    outputs: list[torch.Tensor] = []

    def run() -> None:
        outputs.append(low_rank(x, A, B, Update(view(module), SCALING, 0.5, 1)))
        outputs.append(low_rank(x, A2, B2, Update(view(module), SCALING, 0.5, 2)))

    kept = saved(run)
    rows = x.numel() // IN
    weights = {tensor.untyped_storage().data_ptr() for tensor in (A, B, A2, B2)}
    assert sum(size for pointer, size in kept.items() if pointer not in weights) == 4 * (x.numel() + 2 * rows * RANK)


def test_dropout_scales_its_mask_to_the_expectation() -> None:
    module = base_layer("linear", torch.float64)
    x, A, B = (tensor.detach() for tensor in inputs(torch.float64))
    draws = torch.stack([low_rank(x, A, B, Update(view(module), SCALING, 0.3, seed)) for seed in range(4000)])
    error = (draws.mean(0) - reference(x, A, B, module)).abs()
    assert bool((error < 5 * draws.std(0) / 4000**0.5).all())  # five standard errors


def test_dropout_survives_activation_checkpointing() -> None:

    def gradients(recompute: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        layer = LoraLinear(base_layer("linear", torch.float64), Lora(rank=RANK, dropout=0.5))
        nn.init.normal_(layer.lora_B)
        x = inputs(torch.float64)[0]
        torch.manual_seed(9)
        y = checkpoint(layer, x, use_reentrant=False) if recompute else layer(x)
        y.square().sum().backward()
        return [x.grad, layer.lora_A.grad, layer.lora_B.grad]

    for plain, recomputed in zip(gradients(False), gradients(True), strict=True):
        assert torch.equal(plain, recomputed)


def test_under_autocast_it_is_ordinary_operations() -> None:
    module = base_layer("linear-bias", torch.float32)
    x, A, B = inputs(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y = low_rank(x, A, B, Update(view(module), SCALING))
    assert y.dtype == torch.bfloat16
    y.sum().backward()
    assert A.grad is not None
    assert A.grad.dtype == torch.float32
    torch.testing.assert_close(y.float(), reference(x, A, B, module), atol=0.2, rtol=2e-2)  # a few bf16 roundings
