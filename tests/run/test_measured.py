"""What is added to an update's event: memory, and how far the weights moved relative to their size."""

from __future__ import annotations

import pytest
import torch

from tunesmith.events import Event
from tunesmith.run.measured import ELEMENTS, EVERY, held, measured, ratio, sample


def test_the_ratio_is_that_of_the_update_it_stands_in() -> None:
    weights = {"a": torch.full((3, 4), 2.0), "b": torch.zeros(5)}
    heard: list[Event] = []
    emit = measured(heard.append, weights, device="cpu")
    for step in range(1, 2 * EVERY + 1):
        weights["a"] *= 1.01 if step % EVERY == 0 else 3.0
        emit(Event("step", step, {"loss": 1.0}))
    told = {event.step: event.values["update_ratio"] for event in heard if "update_ratio" in event.values}
    wanted = pytest.approx(0.01 / 1.01, rel=1e-4)
    assert told == {EVERY: wanted, 2 * EVERY: wanted}
    assert all(event.values["memory"] > 1e6 and event.values["loss"] == 1.0 for event in heard)


def test_other_events_pass_as_they_are() -> None:
    heard: list[Event] = []
    event = Event("evaluation", 10, {"validation_loss": 2.0})
    measured(heard.append, {}, device="cpu")(event)
    assert heard == [event]


def test_a_sample_of_many_weights_has_their_ratio() -> None:
    drawn = torch.Generator().manual_seed(0)
    old = {"w": torch.randn(8 * ELEMENTS, generator=drawn)}
    new = {"w": old["w"] + 0.1 * torch.randn(8 * ELEMENTS, generator=drawn)}
    few = ratio(sample(old), sample(new))
    assert sum(map(len, sample(old))) == ELEMENTS
    assert few == pytest.approx(float((new["w"] - old["w"]).norm() / new["w"].norm()), rel=0.02)
    assert ratio([torch.zeros(2)], [torch.zeros(2)]) == 0.0
    assert held("cpu") > 1e6
