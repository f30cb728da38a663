"""Optimizers by name: groups, rates, and a state that can be stored by name and put back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tunesmith.contracts.method import Group
from tunesmith.engine import optimizers
from tunesmith.engine.optimizers import OPTIMIZERS
from tunesmith.engine.weights import Weights
from tunesmith.errors import UserError
from tunesmith.recipe.schema import TrainConfig


def parameters() -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return {
        "matrix": nn.Parameter(torch.randn(6, 4, generator=generator)),
        "other": nn.Parameter(torch.randn(4, 4, generator=generator)),
        "vector": nn.Parameter(torch.randn(4, generator=generator)),
    }


def built(name: str, **config: Any) -> tuple[Weights, optimizers.Optimizer]:
    found = parameters()
    groups = [
        Group({"matrix": found["matrix"], "vector": found["vector"]}),
        Group({"other": found["other"]}, 0.5, False),
    ]
    weights = Weights(groups)
    weights.bind()
    return weights, optimizers.build(weights, TrainConfig(optimizer=name, learning_rate=1e-2, **config))


def step(weights: Weights, optimizer: optimizers.Optimizer, number: int) -> None:
    generator = torch.Generator().manual_seed(number)
    for value in weights.values.values():
        value.grad = torch.randn(value.shape, generator=generator)
    optimizer.step()


def available(name: str) -> None:
    if "8bit" in name:
        pytest.importorskip("bitsandbytes", reason="8-bit optimizers are bitsandbytes'")
    if name.startswith("paged") and not torch.cuda.is_available():
        pytest.skip("paged state needs a GPU")


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.9)])
def test_state_goes_by_name_and_comes_back_exactly(name: str, betas: tuple[float, float]) -> None:
    available(name)
    weights, optimizer = built(name, betas=betas)
    for number in range(3):
        step(weights, optimizer, number)
    stored = {key: value.clone() for key, value in optimizers.state_tensors(optimizer).items()}
    assert all(key.split("|")[0] in weights.values for key in stored)
    middle = {key: value.clone() for key, value in weights.values.items()}
    for number in (3, 4):
        step(weights, optimizer, number)

    again, fresh = built(name, betas=betas)
    again.set(middle)
    optimizers.load_state(fresh, stored)
    assert optimizers.state_tensors(fresh).keys() == stored.keys()
    for number in (3, 4):
        step(again, fresh, number)
    for key, value in weights.values.items():
        assert torch.equal(again.values[key], value), key


def test_eight_bits_hold_a_quarter_and_come_back_exactly() -> None:
    """A 128x128 matrix, large enough to be held in 8 bits: two bytes a weight and the scales of 256-blocks."""
    available("adamw-8bit")

    def start(name: str) -> tuple[Weights, optimizers.Optimizer]:
        weights = Weights([Group({"w": nn.Parameter(torch.ones(128, 128))})])
        weights.bind()
        return weights, optimizers.build(weights, TrainConfig(optimizer=name, learning_rate=1e-2))

    (exact, plain), (weights, optimizer) = start("adamw"), start("adamw-8bit")
    for number in range(4):
        step(exact, plain, number)
        step(weights, optimizer, number)
    sizes = [
        sum(value.nbytes for value in optimizers.state_tensors(one).values() if value.numel() > 256)
        for one in (optimizer, plain)
    ]
    assert sizes[0] == sizes[1] / 4
    moved = exact.values["w"] - 1
    assert float((weights.values["w"] - exact.values["w"]).norm() / moved.norm()) < 0.05
    stored = {key: value.clone() for key, value in optimizers.state_tensors(optimizer).items()}
    again, fresh = start("adamw-8bit")
    again.set({"w": weights.values["w"].clone()})
    assert optimizers.load_state(fresh, stored) == 1
    step(weights, optimizer, 9)
    step(again, fresh, 9)
    assert torch.equal(weights.values["w"], again.values["w"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can page")
def test_paged_state_without_a_gpu_is_refused() -> None:
    with pytest.raises(UserError) as caught:
        built("paged-adamw-8bit")
    assert caught.value.code == "needs-gpu"


def test_decay_is_for_matrices_only_and_not_where_a_group_says_so() -> None:
    _, optimizer = built("adamw", weight_decay=0.1)
    decay = {name: group["weight_decay"] for group in optimizer.param_groups for name in group["names"]}
    assert decay == {"matrix": 0.1, "vector": 0.0, "other": 0.0}


def test_a_group_has_its_own_factor() -> None:
    _, optimizer = built("adamw")
    optimizers.set_rate(optimizer, 3e-4)
    rates = {name: group["lr"] for group in optimizer.param_groups for name in group["names"]}
    assert rates == {"matrix": 3e-4, "vector": 3e-4, "other": 1.5e-4}


def test_the_first_step_of_adamw_in_closed_form() -> None:
    """After one update the moments are the gradient itself, so each weight moves by the rate times its sign, and a
    decayed one shrinks by rate times decay before: w (1 - 0.01 * 0.1) - 0.01 sign(g)."""
    weights, optimizer = built("adamw", weight_decay=0.1)
    before = weights.values["matrix"].clone()
    step(weights, optimizer, 0)
    gradient = weights.values["matrix"].grad
    assert gradient is not None
    assert torch.allclose(weights.values["matrix"], before * 0.999 - 0.01 * gradient.sign(), atol=1e-6)


def test_sgd_in_closed_form() -> None:
    """v = 0.9 v + g, w = w - 0.01 v: after two updates w - 0.01 (g1 + 0.9 g1 + g2)."""
    weights, optimizer = built("sgd")
    before = weights.values["vector"].clone()
    gradients = []
    for number in range(2):
        step(weights, optimizer, number)
        gradient = weights.values["vector"].grad
        assert gradient is not None
        gradients.append(gradient.clone())
    assert torch.allclose(weights.values["vector"], before - 0.01 * (1.9 * gradients[0] + gradients[1]), atol=1e-6)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError) as caught:
        built("adamm")
    assert caught.value.code == "unknown-optimizer"
    assert "adamw" in str(caught.value)


def test_state_comes_back_as_the_parameter_lies_in_memory() -> None:
    """Fused Adam walks storage: moments of another layout than a transposed parameter's would be mixed up."""

    def start() -> tuple[Weights, optimizers.Optimizer]:
        parameter = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3).t() / 7)
        weights = Weights([Group({"w": parameter})])
        weights.bind()
        return weights, optimizers.build(weights, TrainConfig(learning_rate=0.1))

    def step(weights: Weights, optimizer: optimizers.Optimizer) -> None:
        weights.values["w"].grad = weights.values["w"].detach() * torch.tensor([1.0, -2.0])
        optimizer.step()

    (whole, first), (resumed, second) = start(), start()
    step(whole, first)
    stored = {name: value.contiguous() for name, value in optimizers.state_tensors(first).items()}
    resumed.set({"w": whole.values["w"].clone()})
    assert optimizers.load_state(second, stored) == 1
    step(whole, first)
    step(resumed, second)
    assert not whole.values["w"].is_contiguous()
    assert torch.equal(whole.values["w"], resumed.values["w"])
