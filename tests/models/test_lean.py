"""Lean modules: the same numbers as the modules they stand for, fewer bytes, and nothing left behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.families import tiny
from torch import nn

from tunesmith.models import lean
from tunesmith.models.lean import LeanRMSNorm, rms_norm, slim, unslim

EPSILON = 1e-6


def reference(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Equation 4 of the paper, in float64."""
    x, weight = x.double(), weight.double()
    return weight * x / (x.square().mean(-1, keepdim=True) + EPSILON).sqrt()


def inputs(dtype: torch.dtype, *, width: int = 48, rows: int = 37) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    x, upstream = torch.randn(2, 3, rows, width, generator=generator).to(dtype)
    x[0, 0] *= 1e-3
    x[1, 1] = 0.0
    weight = (1.0 + 0.3 * torch.randn(width, generator=generator)).to(dtype)
    return x.requires_grad_(), weight.requires_grad_(), upstream


@pytest.fixture(params=[2**17, 48 * 5], ids=["one piece", "pieces of five rows"])
def _pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lean, "CACHED_ELEMENTS", request.param)


@pytest.mark.usefixtures("_pieces")
def test_value_and_gradients_are_those_of_the_formula() -> None:
    x, weight, upstream = inputs(torch.float32)
    y = rms_norm(x, weight, EPSILON)
    found = (y.detach(), *torch.autograd.grad(y, (x, weight), upstream))
    slow = reference(x, weight)
    wanted = (slow.detach(), *torch.autograd.grad(slow, (x, weight), upstream.double()))
    for ours, exact in zip(found, wanted, strict=True):
        # a zero row has the largest gradient, 1/sqrt(epsilon); float32 rounding is relative to the row
        torch.testing.assert_close(ours.double(), exact.double(), rtol=2e-5, atol=2e-5)


@pytest.mark.usefixtures("_pieces")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_meets_the_module_of_transformers(dtype: torch.dtype) -> None:
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    x, weight, upstream = inputs(dtype)
    module = LlamaRMSNorm(weight.numel(), eps=EPSILON).to(dtype)
    module.weight = nn.Parameter(weight.detach().clone())
    theirs = module(x)
    wanted = (theirs.detach(), *torch.autograd.grad(theirs, (x, module.weight), upstream))
    ours = rms_norm(x, weight, EPSILON)
    found = (ours.detach(), *torch.autograd.grad(ours, (x, weight), upstream))
    spacing = torch.finfo(dtype).eps
    # the gradient of the weight is a sum over 111 rows, taken in another order
    for mine, exact, terms in zip(found, wanted, (1, 1, 111), strict=True):
        torch.testing.assert_close(mine, exact, rtol=4 * spacing, atol=8 * terms**0.5 * spacing)


def test_frozen_inputs_get_no_gradient() -> None:
    x, weight, upstream = inputs(torch.float32)
    y = rms_norm(x, weight.detach(), EPSILON)
    y.backward(upstream)
    assert x.grad is not None and weight.grad is None
    z = rms_norm(x.detach(), weight, EPSILON)
    z.backward(upstream)
    assert weight.grad is not None


def training_pass(model: Any) -> dict[str, torch.Tensor]:
    """Logits and every gradient of a loss."""
    ids = torch.arange(40).reshape(2, 20) * 7 % 320
    model.zero_grad()
    logits = model(input_ids=ids).logits
    torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1)).backward()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    return {"logits": logits.detach(), **gradients}


@pytest.mark.parametrize(("family", "count"), [("llama", 5), ("qwen3", 9), ("mistral", 5), ("phi3", 5)])
def test_a_slim_model_computes_the_same(family: str, count: int) -> None:
    model = tiny(family)
    before, names = training_pass(model), list(model.state_dict())
    assert len(slim(model)) == count
    assert list(model.state_dict()) == names
    for name, value in training_pass(model).items():
        torch.testing.assert_close(value, before[name], rtol=1e-4, atol=1e-5 * float(before[name].abs().max()))


@pytest.mark.parametrize("family", ["gemma2", "gemma3", "gpt2", "bert"])
def test_other_forms_are_left_alone(family: str) -> None:
    model = tiny(family)
    kinds = [type(module) for module in model.modules()]
    assert slim(model) == []
    assert [type(module) for module in model.modules()] == kinds


@pytest.mark.parametrize("defect", ["epsilon", "weight", "mean"])
def test_a_module_that_only_looks_the_same_is_left_alone(defect: str) -> None:
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    class OtherRMSNorm(LlamaRMSNorm):
        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            x = hidden - hidden.mean(-1, keepdim=True) if defect == "mean" else hidden
            epsilon = 1e-5 if defect == "epsilon" else self.variance_epsilon
            scale = 1.0 + self.weight if defect == "weight" else self.weight
            return scale * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon)

    assert slim(nn.Sequential(OtherRMSNorm(32, eps=EPSILON))) == []


def test_undone_without_a_trace() -> None:
    model = tiny("llama")
    modules, parameters = list(model.modules()), [id(parameter) for parameter in model.parameters()]
    slim(model)
    assert sum(isinstance(module, LeanRMSNorm) for module in model.modules()) == 5
    assert [id(parameter) for parameter in model.parameters()] == parameters
    model.to(torch.bfloat16)
    unslim(model)
    assert all(left is right for left, right in zip(model.modules(), modules, strict=True))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def saved_bytes(module: Any, x: torch.Tensor) -> int:
    """Bytes that autograd keeps for the backward pass, each storage once, without parameters."""
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        y = module(x)
    del y
    return sum(kept.values())


def test_keeps_its_input_and_one_number_a_row() -> None:
    model = tiny("llama").to(torch.bfloat16)
    model.requires_grad_(False)
    x = torch.randn(1, 300, 64).bfloat16().requires_grad_()
    original = saved_bytes(model.model.norm, x)
    slim(model)
    lean_bytes = saved_bytes(model.model.norm, x)
    assert lean_bytes == x.numel() * 2 + 300 * 4
    assert lean_bytes < 0.51 * original  # which keeps a float32 copy of the input
