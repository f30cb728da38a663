"""How training ends before its end: a loss that is no number, Ctrl-C once and twice, early stopping."""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from training import Record, equal, final, job, record, run

from tunesmith.contracts.batch import Batch
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.engine import checkpoint
from tunesmith.engine.checkpoint import Progress
from tunesmith.engine.loop import Job, fit
from tunesmith.errors import UserError
from tunesmith.events import Event
from tunesmith.methods.lora import Lora

STEPS = 8


def resume(made: Job) -> Progress:
    """Go on from the newest checkpoint."""
    found = checkpoint.newest(made.folder / "checkpoints")
    assert found is not None
    checkpoint.restore(found.path, made.weights, made.optimizer)
    return fit(made, found.progress)


class Spoiled(nn.Module):
    """A policy whose ``call``-th answer is ``factor`` times too large."""

    def __init__(self, policy: nn.Module, call: int, factor: float) -> None:
        super().__init__()
        self.policy, self.left, self.factor = policy, call, factor

    def forward(self, batch: Batch, want: Want) -> Outputs:
        outputs: Outputs = self.policy(batch, want)
        assert outputs.logprob is not None
        self.left -= 1
        return Outputs(outputs.logprob * self.factor) if self.left == 0 else outputs


@pytest.mark.parametrize("factor", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_before_it_spoils_the_weights(factor: float, tmp_path: Path) -> None:
    made = job(tmp_path, steps=STEPS, microbatch_tokens=10_000, wrap=lambda policy: Spoiled(policy, 4, factor))
    with pytest.raises(UserError, match="update 4 is not a number") as caught:
        fit(made, Progress())
    assert caught.value.code == "loss-not-finite"
    assert all(bool(value.isfinite().all()) for value in made.weights.values.values())
    found = checkpoint.newest(tmp_path / "checkpoints")
    assert found is not None
    assert found.progress.step == 2


def test_a_gradient_that_is_no_number_stops_as_well(tmp_path: Path) -> None:
    made = job(tmp_path, steps=STEPS)
    made.weights.parameters["model.norm.weight"].register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(UserError, match="update 1 is not a number"):
        fit(made, Progress())
    assert all(bool(value.isfinite().all()) for value in made.weights.values.values())


class Interrupting(Record):
    """Presses Ctrl-C ``times`` times when update ``step`` is reported."""

    def __init__(self, step: int, times: int) -> None:
        super().__init__()
        self.step, self.times = step, times

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        if event.kind == "step" and event.step == self.step:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("method", [None, Lora(rank=4, dropout=0.1)], ids=["full", "lora"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("step", [3, 4])
def test_interrupted_once_it_saves_and_goes_on_bit_for_bit(
    step: int, dtype: torch.dtype, method: Any, tmp_path: Path
) -> None:
    """Stopped between two checkpoints, and at one."""
    options = {"steps": STEPS, "dtype": dtype, "method": method}
    curve, weights = run(job(tmp_path / "whole", **options))
    stopped = job(tmp_path / "run", emit=Interrupting(step, 1), **options)
    assert fit(stopped, Progress()).step == step
    assert any("stopping" in note for note in record(stopped).notes)
    resumed = job(tmp_path / "run", **options)
    assert resume(resumed).step == STEPS
    assert record(stopped).values("loss") + record(resumed).values("loss") == curve
    assert equal(final(resumed), weights)


def test_interrupted_twice_it_stops_at_once_and_what_was_saved_stays(tmp_path: Path) -> None:
    _, weights = run(job(tmp_path / "whole", steps=STEPS))
    stopped = job(tmp_path / "run", steps=STEPS, emit=Interrupting(5, 2))
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, Progress())
    found = checkpoint.newest(tmp_path / "run" / "checkpoints")
    assert found is not None
    assert (found.progress.step, found.damaged) == (4, ())
    resumed = job(tmp_path / "run", steps=STEPS)
    assert resume(resumed).step == STEPS
    assert equal(final(resumed), weights)


def test_interrupted_while_saving_the_former_checkpoint_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file, calls = checkpoint.save_file, []

    def interrupted(tensors: dict[str, torch.Tensor], path: Path) -> None:
        save_file(tensors, path)
        calls.append(path)
        if len(calls) == 6:  # the second checkpoint's second file
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(checkpoint, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(job(tmp_path, steps=STEPS), Progress())
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000002"]


def test_signal_handlers_are_put_back(tmp_path: Path) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    fit(job(tmp_path, steps=1), Progress())
    assert {number: signal.getsignal(number) for number in before} == before


class Scripted:
    """An evaluation whose results are known beforehand."""

    def __init__(self, values: list[float], name: str = "validation_loss") -> None:
        self.values, self.name = dict(enumerate(values, start=1)), name

    def __call__(self, step: int) -> Mapping[str, float]:
        return {self.name: self.values[step], "other_loss": float(step)}


EVERY = {"evaluate_every": 1, "save_every": 1, "keep": 100}


@pytest.mark.parametrize(
    ("values", "patience", "stop", "best"),
    [
        ([3, 2, 2.5, 2.5, 1, 1, 1, 1], 2, 4, 2),
        ([3, 2, 2.5, 1.9, 2, 2, 2, 1], 3, 7, 4),
        ([8, 7, 6, 5, 4, 3, 2, 1], 1, 8, 8),
        ([1, 1, 1, 1, 1, 1, 1, 1], 3, 4, 1),
        ([math.nan, 2, 1, math.inf, math.nan, 0, 0, 0], 2, 5, 3),
    ],
)
def test_early_stopping_and_best(values: list[float], patience: int, stop: int, best: int, tmp_path: Path) -> None:
    """Stops after ``patience`` evaluations without improvement (a tie is none); the result holds the best weights."""
    made = job(
        tmp_path,
        steps=STEPS,
        method=Lora(rank=4),
        evaluate=Scripted(values),
        config={**EVERY, "early_stopping": {"patience": patience}},
    )
    progress = fit(made, Progress())
    assert (progress.step, progress.best_step, progress.best) == (stop, best, values[best - 1])
    assert progress.stopped_early == (stop < STEPS)
    stored = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    at_best = load_file(tmp_path / "checkpoints" / f"step-{best:06d}" / "weights.safetensors")
    assert equal(stored, at_best)
    again = checkpoint.newest(tmp_path / "checkpoints")
    assert again is not None
    assert again.progress == progress


def test_patience_outlives_a_stop(tmp_path: Path) -> None:
    values = [3, 2, 2.5, 2.5, 2.5, 1, 1, 1]
    options = {"steps": STEPS, "config": {**EVERY, "early_stopping": {"patience": 3}}, "evaluate": Scripted(values)}
    assert fit(job(tmp_path, emit=Interrupting(4, 1), **options), Progress()).step == 4
    progress = resume(job(tmp_path, **options))
    assert (progress.step, progress.best_step, progress.stopped_early) == (5, 2, True)
    assert resume(job(tmp_path, **options)).step == 5, "a run that stopped early stays stopped"


def test_without_early_stopping_all_updates_are_done(tmp_path: Path) -> None:
    made = job(tmp_path, steps=STEPS, evaluate=Scripted([1.0] * 8), config={**EVERY, "early_stopping": None})
    progress = fit(made, Progress())
    assert (progress.step, progress.best_step, progress.stopped_early) == (STEPS, 1, False)


def test_another_metric_may_be_watched_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    config = {**EVERY, "early_stopping": {"metric": "other_loss", "patience": 2}}
    made = job(tmp_path / "a", steps=STEPS, evaluate=Scripted([1.0] * 8), config=config)
    assert fit(made, Progress()).step == 3
    config["early_stopping"] = {"metric": "validation_los"}
    with pytest.raises(UserError) as caught:
        fit(job(tmp_path / "b", steps=STEPS, evaluate=Scripted([1.0] * 8), config=config), Progress())
    assert caught.value.code == "unknown-metric"
    assert "validation_loss" in str(caught.value)


def test_evaluation_comes_every_so_often_and_at_the_end(tmp_path: Path) -> None:
    made = job(tmp_path, steps=7, evaluate=Scripted([1.0] * 8), config={"evaluate_every": 3, "early_stopping": None})
    fit(made, Progress())
    assert [event.step for event in record(made).events if event.kind == "evaluation"] == [3, 6, 7]


def test_evaluation_does_not_change_training(tmp_path: Path) -> None:
    """One that uses up random numbers and leaves the model in eval mode, with dropout in training."""
    made: dict[bool, Job] = {}

    def disturbing(_: int) -> Mapping[str, float]:
        torch.rand(100)
        made[True].policy.eval()
        return {"validation_loss": 1.0}

    for evaluated in (False, True):
        made[evaluated] = job(
            tmp_path / str(evaluated),
            steps=4,
            method=Lora(rank=4, dropout=0.2),
            evaluate=disturbing if evaluated else None,
            config={**EVERY, "early_stopping": None},
        )
    assert run(made[True])[0] == run(made[False])[0]
