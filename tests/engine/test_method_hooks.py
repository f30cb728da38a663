"""What an update asks of a method: once each, in order, with clipped gradients, and remembered in checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from training import equal, final, job, record

from tunesmith.contracts.method import Moment
from tunesmith.engine import checkpoint
from tunesmith.engine.checkpoint import Progress
from tunesmith.engine.loop import fit, one_update
from tunesmith.engine.workers import Workers
from tunesmith.methods.full import Full
from tunesmith.methods.whole import AttachedWhole

WATCHED = "model.norm.weight"


class Telling(AttachedWhole):
    """Full fine-tuning that writes down what it is asked and keeps a sum of gradients."""

    weight = 0.0
    freeze_at: float | None = None

    def __init__(self, model: Any) -> None:
        super().__init__(model, {name for name, _ in model.named_parameters()})
        self.asked: list[str] = []
        self.norms: list[float] = []
        self.moments: list[Moment] = []
        self.seen: list[torch.Tensor] = []
        self.sum = torch.zeros(64)

    def penalty(self) -> torch.Tensor | None:
        self.asked.append("penalty")
        return self.weight * self.trained[WATCHED].float().square().sum() if self.weight else None

    def before_step(self, moment: Moment, values: Mapping[str, torch.Tensor]) -> None:
        self.asked.append("before")
        self.moments.append(moment)
        gradients = [value.grad for value in values.values() if value.grad is not None]
        self.norms.append(float(torch.nn.utils.get_total_norm(gradients)))
        assert values[WATCHED].dtype == torch.float32
        self.seen.append(values[WATCHED].detach().clone())
        self.sum += values[WATCHED].grad

    def after_step(self, moment: Moment, values: Mapping[str, torch.Tensor]) -> None:
        self.asked.append("after")
        if self.freeze_at is not None:
            with torch.no_grad():
                values[WATCHED].fill_(self.freeze_at)

    def state(self) -> Mapping[str, torch.Tensor]:
        return {"sum": self.sum}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        self.sum = state["sum"].clone() if state else torch.zeros(64)


class Tell(Full):
    weight: float = 0.0
    freeze_at: float | None = None

    def attach(self, model: Any, *, heads: Any = ()) -> Telling:
        attached = Telling(model)
        attached.weight, attached.freeze_at = self.weight, self.freeze_at
        return attached


@pytest.mark.parametrize("tokens", [1, 10_000])
def test_each_is_asked_once_an_update_whatever_the_micro_batches(tokens: int, tmp_path: Path) -> None:
    made = job(tmp_path, steps=2, method=Tell(weight=1.0), microbatch_tokens=tokens)
    fit(made, Progress())
    assert made.attached.asked == ["penalty", "before", "after"] * 2
    assert made.attached.moments == [Moment(1, 2), Moment(2, 2)]


def test_values_are_seen_before_the_optimizer_moves_them(tmp_path: Path) -> None:
    made = job(tmp_path, steps=1, method=Tell())
    start = final(made)[WATCHED]
    one_update(made, 0)
    assert torch.equal(made.attached.seen[0], start)
    assert not torch.equal(final(made)[WATCHED], start)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_clipped_before_they_are_looked_at(dtype: torch.dtype, tmp_path: Path) -> None:
    made = job(tmp_path, steps=1, method=Tell(), dtype=dtype, config={"clip": 0.01})
    assert one_update(made, 0).norm > 0.01
    assert made.attached.norms == pytest.approx([0.01], rel=1e-4)


def test_the_penalty_adds_its_gradient_and_is_reported(tmp_path: Path) -> None:
    """λ Σ w² adds 2 λ w, once, however the update is cut."""
    gradients = {}
    for weight in (0.0, 0.7):
        for tokens in (1, 10_000):
            made = job(tmp_path, steps=1, method=Tell(weight=weight), microbatch_tokens=tokens, config={"clip": 0.0})
            start = final(made)[WATCHED]
            update = one_update(made, 0)
            gradients[weight, tokens] = made.attached.sum
            assert update.penalty == pytest.approx(weight * float(start.square().sum()), rel=1e-6)
    for tokens in (1, 10_000):
        difference = gradients[0.7, tokens] - gradients[0.0, tokens]
        torch.testing.assert_close(difference, 2 * 0.7 * start, atol=1e-5, rtol=1e-4)


def test_the_penalty_is_told_beside_the_loss(tmp_path: Path) -> None:
    made = job(tmp_path, steps=1, method=Tell(weight=0.5))
    plain = job(tmp_path, steps=1, method=Tell())
    fit(made, Progress())
    fit(plain, Progress())
    (event,) = (event for event in record(made).events if event.kind == "step")
    (other,) = (event for event in record(plain).events if event.kind == "step")
    assert event.values["penalty"] > 0
    assert "penalty" not in other.values
    assert event.values["loss"] == other.values["loss"], "the loss is the objective's alone"


def test_only_the_first_process_adds_it(tmp_path: Path) -> None:
    class Second(Workers):
        def add(self, tensors: object) -> None:
            """Alone."""

    made = job(tmp_path, steps=1, method=Tell(weight=1.0), workers=Second(rank=1, world=2))
    assert one_update(made, 0).penalty == 0.0
    assert made.attached.asked == ["before", "after"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_changed_after_the_step_are_what_the_model_reads(dtype: torch.dtype, tmp_path: Path) -> None:
    made = job(tmp_path, steps=1, method=Tell(freeze_at=0.25), dtype=dtype)
    one_update(made, 0)
    assert bool((made.weights.values[WATCHED] == 0.25).all())
    assert bool((made.attached.trained[WATCHED] == 0.25).all())


def test_what_a_method_remembers_is_in_the_checkpoint(tmp_path: Path) -> None:
    made = job(tmp_path, steps=4, method=Tell())
    fit(made, Progress())
    found = checkpoint.newest(tmp_path / "checkpoints")
    assert found is not None
    other = job(tmp_path / "other", steps=4, method=Tell())
    other.attached.restore(checkpoint.restore(found.path, other.weights, other.optimizer))
    assert torch.equal(other.attached.sum, made.attached.sum)
    assert equal(final(other), final(made))
