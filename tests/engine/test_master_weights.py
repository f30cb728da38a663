"""Float32 masters: training in bfloat16 at a small rate goes where float32 goes, and plain bfloat16 does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from training import equal, final, job, record

from families import tiny
from tunesmith.contracts.method import Group
from tunesmith.engine.checkpoint import Progress
from tunesmith.engine.loop import accumulate, fit
from tunesmith.engine.microbatch import cut
from tunesmith.engine.weights import Weights
from tunesmith.methods.lora import Lora

RATE = {
    "learning_rate": 1e-5,
    "schedule": "constant",
    "warmup": 0,
    "clip": 0.0,
    "save_every": 100,
    "evaluate_every": 100,
}
STEPS = 30


def movement(folder: Path, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """How far the masters moved, and how far what the model computes with moved."""
    made = job(folder, steps=STEPS, dtype=dtype, config=RATE)
    before, copies = flat(final(made)), flat(made.weights.parameters)
    fit(made, Progress())
    return flat(final(made)) - before, flat(made.weights.parameters) - copies


def plain_bfloat16(folder: Path) -> torch.Tensor:
    """The same updates by torch's AdamW on bfloat16 parameters."""
    made = job(folder, steps=STEPS, dtype=torch.bfloat16, config=RATE)
    made.weights.unbind()
    parameters = list(made.weights.parameters.values())
    before = flat(made.weights.parameters)
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, weight_decay=0.0)
    for step in range(STEPS):
        rows = made.feed.update(step)
        accumulate(made, cut(rows, made.microbatch_tokens), made.objective.counts(rows), step)
        optimizer.step()
        optimizer.zero_grad()
    return flat(made.weights.parameters) - before


def flat(tensors: dict[str, torch.Tensor] | dict[str, nn.Parameter]) -> torch.Tensor:
    return torch.cat([tensor.detach().float().reshape(-1) for tensor in tensors.values()])


def apart(moved: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((moved - wanted).norm() / wanted.norm())


def test_bfloat16_with_masters_goes_where_float32_goes(tmp_path: Path) -> None:
    """Distance between where they arrive over the way float32 went. With masters only the gradient's rounding is left
    (Adam turns the sign of its smallest entries): measured 0.2. A step of 1e-5 is below half the spacing of bfloat16
    for every weight above 0.003, so plain AdamW mostly stands still or jumps: measured 1.2."""
    wanted, _ = movement(tmp_path, torch.float32)
    masters, _ = movement(tmp_path, torch.bfloat16)
    assert apart(masters, wanted) < 0.4
    assert 0.9 < float(masters.norm() / wanted.norm()) < 1.1
    assert apart(plain_bfloat16(tmp_path), wanted) > 0.8


@pytest.mark.parametrize("method", [None, Lora(rank=4)])
def test_what_the_model_reads_is_the_rounded_master(method: Lora | None, tmp_path: Path) -> None:
    made = job(tmp_path, steps=3, dtype=torch.bfloat16, method=method)
    before = final(made)
    fit(made, Progress())
    assert not equal(before, final(made))
    for name, parameter in made.weights.parameters.items():
        assert parameter.dtype == torch.bfloat16
        assert made.weights.values[name].dtype == torch.float32
        assert torch.equal(parameter, made.weights.values[name].to(torch.bfloat16))
        assert parameter.grad is None
    assert all(value.dtype == torch.float32 for state in made.optimizer.state.values() for value in state.values())


def test_masters_start_from_the_stored_values_not_the_rounded_ones(tmp_path: Path) -> None:
    model = tiny("llama")
    stored = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    assert equal(final(job(tmp_path, steps=1, dtype=torch.bfloat16)), stored)


def test_gradients_of_many_micro_batches_add_up_in_float32(tmp_path: Path) -> None:
    """A thousand small gradients after a large one: bfloat16 would lose every one of them."""
    parameter = nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
    weights = Weights([Group({"w": parameter})])
    weights.bind()
    for size in [1.0] + [2.0**-10] * 1024:
        (parameter * size).sum().backward()
    weights.collect()
    assert [float(gradient) for gradient in weights.gradients()] == [2.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_clipping_scales_all_gradients_to_the_limit(dtype: torch.dtype) -> None:
    """Gradients (3, 0) and (0, 4) have norm 5; a limit of 1 makes them (0.6, 0) and (0, 0.8)."""

    def made() -> Weights:
        named = {name: nn.Parameter(torch.zeros(2, dtype=dtype)) for name in ("a", "b")}
        weights = Weights([Group(named)])
        weights.bind()
        (
            named["a"] @ torch.tensor([3.0, 0.0], dtype=dtype) + named["b"] @ torch.tensor([0.0, 4.0], dtype=dtype)
        ).backward()
        weights.collect()
        return weights

    for limit, scaled in ((1.0, 0.2), (5.0, 1.0), (7.0, 1.0), (0.0, 1.0)):
        weights = made()
        assert weights.clip(limit) == 5.0
        wanted = torch.tensor([[3.0, 0.0], [0.0, 4.0]]) * scaled
        assert torch.allclose(torch.stack(list(weights.gradients())), wanted)


def test_the_reported_norm_is_before_clipping(tmp_path: Path) -> None:
    norms = {}
    for clip in (0.0, 1e-3):
        made = job(tmp_path / str(clip), steps=1, config={"clip": clip})
        fit(made, Progress())
        norms[clip] = record(made).values("norm")[0]
    assert norms[0.0] == norms[1e-3] > 1e-3


def test_setting_weights_needs_every_name(tmp_path: Path) -> None:
    made = job(tmp_path, steps=1)
    values = final(made)
    removed = next(iter(values))
    del values[removed]
    with pytest.raises(KeyError, match=removed):
        made.weights.set(values)
