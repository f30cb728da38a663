"""The loop against thirty lines of plain torch: losses, final weights and optimizer state, full and LoRA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training import final, job, record

from families import tiny
from reference.plain_training import train
from tunesmith.engine import optimizers
from tunesmith.engine.checkpoint import Progress
from tunesmith.engine.loop import fit
from tunesmith.methods.lora import Lora

STEPS = 20
CONFIG = {"learning_rate": 2e-3, "weight_decay": 0.1, "clip": 0.5, "warmup": 4, "schedule": "linear"}


class PlainLora(nn.Module):
    """LoRA as the paper writes it."""

    def __init__(self, base: nn.Linear, a: torch.Tensor, b: torch.Tensor, scaling: float) -> None:
        super().__init__()
        self.base, self.scaling = base, scaling
        self.a, self.b = nn.Parameter(a.clone()), nn.Parameter(b.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + self.scaling * (x @ self.a.T @ self.b.T)


def plain_model(method: Lora | None, start: dict[str, torch.Tensor]) -> tuple[Any, dict[str, nn.Parameter]]:
    model = tiny("llama")
    if method is None:
        return model, dict(model.requires_grad_(True).named_parameters())
    model.requires_grad_(False)
    trained: dict[str, nn.Parameter] = {}
    for name in [name for name in start if "lora_A" in name]:
        path = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
        b = name.replace("lora_A", "lora_B")
        layer = PlainLora(model.get_submodule(path), start[name], start[b], method.alpha / method.rank)
        parent, _, leaf = path.rpartition(".")
        setattr(model.get_submodule(parent), leaf, layer)
        trained[name], trained[b] = layer.a, layer.b
    return model, trained


def rate(step: int) -> float:
    """Four updates up, sixteen down in a straight line."""
    return 2e-3 * ((step + 1) / 4 if step < 4 else 1 - (step - 4) / 16)


@pytest.mark.parametrize("method", [None, Lora(rank=4, alpha=8)], ids=["full", "lora"])
@pytest.mark.parametrize("tokens", [1, 10_000], ids=["one row at a time", "packed"])
def test_weights_and_optimizer_state_are_those_of_plain_torch(method: Lora | None, tokens: int, tmp_path: Path) -> None:
    """Weights: distance over the way travelled, at most 1e-3. Gradients differ by 1e-6 of their norm (float32 sums in
    another order), and Adam's division enlarges that for entries near zero; measured 2e-5. Moments: relative, 1e-4."""
    made = job(tmp_path, steps=STEPS, method=method, config=CONFIG, microbatch_tokens=tokens)
    start = final(made)
    model, trained = plain_model(method, start)
    losses, optimizer = train(
        model, trained, [made.feed.update(step) for step in range(STEPS)], rate=rate, clip=0.5, weight_decay=0.1
    )
    fit(made, Progress())
    assert record(made).values("loss") == pytest.approx(losses, rel=1e-5)
    assert losses[-1] < losses[0]
    assert record(made).values("rate") == pytest.approx([rate(step) for step in range(STEPS)])
    state = optimizers.state_tensors(made.optimizer)
    for name, value in final(made).items():
        wanted = trained[name].detach()
        travelled = float((wanted - start[name]).norm())
        assert travelled > 0
        assert float((value - wanted).norm()) / travelled < 1e-3, name
        for moment in ("exp_avg", "exp_avg_sq"):
            other = optimizer.state[trained[name]][moment]
            assert float((state[f"{name}|{moment}"] - other).norm() / other.norm()) < 1e-4, (name, moment)
        assert float(state[f"{name}|step"]) == STEPS
