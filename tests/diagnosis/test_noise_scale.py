"""The noise scale of a run from what its updates measured: known answers, intervals, and what it means in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tunesmith.diagnosis.noise import FEWEST, noise_scale, running


def updates(count: int, *, scale: float, batch: int = 16, seed: int = 0, width: int = 200) -> list[dict[str, Any]]:
    """Updates of four equal micro-batches of normal gradients with |G|² = 1 and tr Σ = ``scale``, measured exactly."""
    drawn = np.random.default_rng(seed)
    found: list[dict[str, Any]] = [{"kind": "start", "step": 0}]
    for step in range(1, count + 1):
        mean = np.zeros(width)
        mean[0] = 1.0
        parts = (mean + drawn.normal(0, (scale / width / (batch / 4)) ** 0.5, (4, width))) / 4
        whole = float((parts.sum(0) ** 2).sum())
        signal = (whole - float((parts**2).sum())) / 0.75
        values = {"signal": signal, "noise": whole - signal, "examples": batch}
        found.append({"kind": "step", "step": step, "loss": 1.0, **({"gradient": values} if step % 2 else {})})
    return found


@pytest.mark.parametrize("scale", [4.0, 40.0, 400.0])
def test_the_value_is_the_one_it_was_made_with(scale: float) -> None:
    found = noise_scale(updates(800, scale=scale, width=4000))
    assert found is not None
    assert (found.n, found.batch) == (400, 16.0)
    assert found.value == pytest.approx(scale, rel=0.15)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high


def test_intervals_hold_the_value_in_95_of_100_runs() -> None:
    """100 runs of 60 measurements: 89 to 99 hold it with a probability of 99%."""
    held = 0
    for seed in range(100):
        found = noise_scale(updates(120, scale=30.0, seed=seed, width=50))
        assert found is not None
        assert found.low is not None
        held += found.low <= 30.0 <= (found.high or float("inf"))
    assert 89 <= held <= 99


@pytest.mark.parametrize(
    ("scale", "batch", "words"),
    [(4.0, 256, "larger than useful"), (400.0, 16, "small beside the noise"), (20.0, 16, "The batch fits")],
)
def test_what_it_means(scale: float, batch: int, words: str) -> None:
    found = noise_scale(updates(400, scale=scale, batch=batch))
    assert found is not None
    assert words in found.means
    assert found.as_dict()["means"] == found.means


def test_what_cannot_be_told_is_not() -> None:
    assert noise_scale(updates(2 * FEWEST - 2, scale=4.0)) is None
    assert running(updates(2 * FEWEST - 2, scale=4.0)) == []
    few = noise_scale(updates(20, scale=4e4))
    assert few is not None
    assert few.high is None, "in ten updates such a gradient does not stand out of its noise"
    assert "larger than useful" not in few.means


def test_stretches_of_a_run_show_how_it_grows() -> None:
    events = [*updates(200, scale=5.0), *updates(200, scale=80.0, seed=1)[1:]]
    for number, event in enumerate(events):
        event["step"] = number
    found = running(events)
    assert found[-1][0] == 399
    early, late = (np.median([value for step, value in found if (step > 200) == half]) for half in (False, True))
    assert early == pytest.approx(5.0, rel=0.3)
    assert late == pytest.approx(80.0, rel=0.5)
