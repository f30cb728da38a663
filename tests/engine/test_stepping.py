"""Stepping in the backward pass is stepping after it, bit for bit, and holds one gradient at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from training import Rows, equal, examples, job, run

from tunesmith.engine.loop import Job
from tunesmith.engine.stepping import Stepping
from tunesmith.errors import UserError
from tunesmith.methods.freeze import Freeze
from tunesmith.methods.lora import Lora
from tunesmith.run.stepping import step_in_backward

ONE = {"clip": 0.0, "weight_decay": 0.1}


def made(folder: Path, *, within: bool, **options: Any) -> Job:
    config = {**ONE, "optimizer_in_backward": within, **options.pop("config", {})}
    plain = job(folder, steps=6, config=config, microbatch_tokens=1000, **options)
    return step_in_backward(plain, plain.attached)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "adafactor"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_losses_weights_and_norms(tmp_path: Path, optimizer: str, dtype: torch.dtype) -> None:
    config = {"optimizer": optimizer}
    after, within = (made(tmp_path / str(one), within=one, dtype=dtype, config=config) for one in (False, True))
    (losses, weights), (ours, reached) = run(after), run(within)
    assert ours == losses
    assert equal(reached, weights)
    norms = [[event.values["norm"] for event in one.emit.events if event.kind == "step"] for one in (after, within)]
    assert norms[1] == pytest.approx(norms[0], rel=1e-5)


def test_layers_below_that_are_frozen_stay(tmp_path: Path) -> None:
    (losses, weights), (ours, reached) = (
        run(made(tmp_path / str(one), within=one, method=Freeze(top_layers=1))) for one in (False, True)
    )
    assert ours == losses
    assert equal(reached, weights)


def test_one_gradient_at_a_time(tmp_path: Path) -> None:
    within = made(tmp_path, within=True)
    assert within.stepping is not None
    held: list[int] = []
    plain: Callable[[str], None] = within.stepping.step

    def watched(name: str) -> None:
        held.append(sum(value.grad is not None for value in within.weights.parameters.values()))
        plain(name)

    within.stepping.step = watched  # type: ignore[method-assign]
    run(within)
    assert len(held) == 6 * len(within.weights.parameters)
    assert set(held) == {1}


def test_a_stopped_run_goes_on_with_its_optimizer(tmp_path: Path) -> None:
    from tunesmith.engine import checkpoint
    from tunesmith.engine.checkpoint import Progress
    from tunesmith.engine.loop import fit

    losses, _ = run(made(tmp_path / "whole", within=True))
    first = made(tmp_path / "parts", within=True)
    fit(first, Progress(), until=4)
    second = made(tmp_path / "parts", within=True)
    found = checkpoint.newest(tmp_path / "parts" / "checkpoints")
    assert found is not None
    second.attached.restore(checkpoint.restore(found.path, second.weights, second.optimizer))
    fit(second, found.progress)
    assert [event.values["loss"] for event in second.emit.events if event.kind == "step"] == losses[4:]


@pytest.mark.parametrize(
    "options",
    [
        {"config": {"clip": 1.0}},
        {"method": Lora(rank=2)},
        {"penalties": {"l2": lambda: None}},
    ],
)
def test_what_needs_all_gradients_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UserError) as refused:
        made(tmp_path, within=True, **options)
    assert refused.value.code == "cannot-combine"


def test_an_update_of_several_micro_batches_is_refused(tmp_path: Path) -> None:
    within = job(tmp_path, steps=2, config={**ONE, "optimizer_in_backward": True}, microbatch_tokens=30)
    with pytest.raises(UserError) as refused:
        run(step_in_backward(within, within.attached))
    assert refused.value.code == "needs-one-microbatch"


def test_a_loss_that_is_no_number_steps_nothing(tmp_path: Path) -> None:
    within = made(tmp_path, within=True, feed=Rows(examples(8), 8))
    with torch.no_grad():
        within.weights.values["model.norm.weight"].fill_(float("nan"))
    before = within.weights.values["lm_head.weight"].clone()
    with pytest.raises(UserError) as refused:
        run(within)
    assert refused.value.code == "loss-not-finite"
    assert torch.equal(within.weights.values["lm_head.weight"], before)
    assert isinstance(within.stepping, Stepping)
