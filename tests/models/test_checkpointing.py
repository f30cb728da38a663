"""Recomputing activations changes no gradient, and no layer below the lowest trained one is recomputed."""

from __future__ import annotations

import pytest
import torch

from families import configs, tiny
from tunesmith.methods.freeze import Freeze
from tunesmith.methods.lora import Lora
from tunesmith.models.checkpointing import recompute

IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.mark.parametrize("family", sorted(configs()))
def test_frozen_layers_are_run_once_and_trained_ones_twice(family: str) -> None:
    model = tiny(family).train()
    Freeze(top_layers=1, head=False).attach(model)
    plain = gradients(model)
    lists = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList) and len(module) == 2]
    ran: list[int] = []
    for index, block in enumerate(lists[0]):
        inner = next(module for module in block.modules() if not list(module.children()))
        inner.register_forward_hook(lambda *_, index=index: ran.append(index))
    recompute(model)
    again = gradients(model)
    assert ran == [0, 1, 1]
    assert all(torch.equal(plain[name], again[name]) for name in plain)


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(input_ids=IDS).logits.square().sum().backward()
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def test_adapters_on_all_layers_get_the_same_gradients() -> None:
    model = tiny("llama").train()
    torch.manual_seed(0)
    Lora(rank=4, init="gaussian").attach(model)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.normal_()
    plain = gradients(model)
    recompute(model)
    again = gradients(model)
    assert len(plain) == 28
    assert all(torch.equal(plain[name], again[name]) for name in plain)
