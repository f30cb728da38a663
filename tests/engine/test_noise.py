"""The noise of an update's gradient: against closed forms, and that looking at it changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_workers import pair
from torch import nn
from training import Rows, equal, examples, job, record, run

from families import VOCABULARY
from tunesmith.contracts.batch import Batch
from tunesmith.contracts.method import Group
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.engine import noise, optimizers
from tunesmith.engine.loop import Job, accumulate, one_update
from tunesmith.engine.microbatch import cut
from tunesmith.engine.noise import Noise, estimate, watched
from tunesmith.engine.weights import Weights
from tunesmith.methods.lora import Lora

WIDTH = 16


class Straight(nn.Module):
    """log p of token ``i`` is ``-theta · t_i``: its gradient is ``t_i`` whatever theta is, so the noise is known."""

    def __init__(self) -> None:
        super().__init__()
        drawn = torch.Generator().manual_seed(0)
        self.theta = nn.Parameter(torch.zeros(WIDTH))
        table = torch.randn(VOCABULARY, WIDTH, generator=drawn) + 0.3
        self.register_buffer("table", table)

    def forward(self, batch: Batch, want: Want) -> Outputs:
        table: Any = self.table
        return Outputs(logprob=-(table[batch.readout.labels] @ self.theta))


def straight(folder: Path, *, tokens: int) -> Job:
    """A job on it: 16 rows of 3 to 24 random tokens an update."""
    policy = Straight()
    weights = Weights([Group({"theta": policy.theta})])
    weights.bind()
    made = job(folder, steps=1000, feed=Rows(examples(16 * 1000, seed=3), 16), microbatch_tokens=tokens)
    return replace(made, policy=policy, weights=weights, optimizer=optimizers.build(weights, made.config))


@pytest.mark.parametrize("tokens", [30, 120], ids=["many micro-batches", "few, of unequal size"])
def test_the_noise_of_tokens_that_is_known(tokens: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens are drawn evenly from 3 to V: G is the mean of their rows of the table, tr Σ the mean squared distance.

    600 updates leave standard errors of 0.7% (signal) and 1.7% (noise); the bounds are four of them.
    """
    monkeypatch.setattr(noise, "EVERY", 1)
    made = straight(tmp_path, tokens=tokens)
    table: Any = made.policy.table
    rows = table[3:].double()
    signal = float(rows.mean(0).square().sum())
    spread = float((rows - rows.mean(0)).square().sum(1).mean())
    found = [one_update(made, step) for step in range(600)]
    noises = [(update.noise, update.units) for update in found if update.noise is not None]
    assert len(noises) == 600
    assert np.mean([one.signal for one, _ in noises]) == pytest.approx(signal, rel=0.03)
    assert np.mean([one.noise * units for one, units in noises]) == pytest.approx(spread, rel=0.07)
    assert {one.examples for one, _ in noises} == {16}
    assert len({update.microbatches for update in found}) > 1, "micro-batches of an update are of unequal size"


def test_micro_batches_of_one_size_give_the_formulas_of_the_paper() -> None:
    """|G|² = (B |G_B|² - b |G_b|²) / (B - b) and S = (|G_b|² - |G_B|²) / (1/b - 1/B), with b the smaller batch."""
    big, small, squares_big, squares_small = 12, 3, 2.0, 5.0
    found = estimate(squares_big**0.5, 4 * squares_small / 16, [3.0] * 4, examples=big)
    assert found is not None
    assert found.signal == pytest.approx((big * squares_big - small * squares_small) / (big - small))
    assert found.noise * big == pytest.approx((squares_small - squares_big) / (1 / small - 1 / big))


def test_one_micro_batch_or_none_that_counts_says_nothing() -> None:
    assert estimate(1.0, 1.0, [5.0], examples=8) is None
    assert estimate(1.0, 1.0, [5.0, 0.0], examples=8) is None
    assert estimate(0.0, 0.0, [0.0, 0.0], examples=8) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_squares_are_those_of_the_pieces_one_by_one(dtype: torch.dtype, tmp_path: Path) -> None:
    """In bfloat16 too: what reaches the master is the very gradient that was squared."""
    made = job(tmp_path, steps=1, dtype=dtype)
    rows = list(made.feed.update(0))
    pieces = cut(rows, 64)
    counts = made.objective.counts(rows)
    wanted = 0.0
    for piece in pieces:
        accumulate(made, [piece], counts, 0)
        made.weights.collect()
        wanted += sum(float(one.double().square().sum()) for one in made.weights.gradients())
        made.weights.drop_gradients()
    assert len(pieces) > 2
    assert accumulate(made, pieces, counts, 0, watch=True).squares == pytest.approx(wanted, rel=1e-5)
    assert accumulate(made, pieces, counts, 0).squares == 0.0


@pytest.mark.parametrize("method", [None, Lora(rank=2, dropout=0.1)], ids=["full", "lora"])
def test_looking_changes_no_bit(method: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    curves = {}
    for every in (1, 10**6):
        monkeypatch.setattr(noise, "EVERY", every)
        made = job(tmp_path / str(every), steps=6, method=method)
        losses, weights = run(made)
        told = [event.step for event in record(made).events if "gradient" in event.values]
        assert told == (list(range(1, 7)) if every == 1 else [1])
        curves[every] = (losses, record(made).values("norm"), weights)
    assert curves[1][:2] == curves[10**6][:2]
    assert equal(curves[1][2], curves[10**6][2])
    parameter = nn.Parameter(torch.ones(2))
    with watched([parameter]) as squares:
        (3 * parameter.sum()).backward()
    (5 * parameter.sum()).backward()
    assert squares.total == pytest.approx(18.0), "a hook that stays would see the second one"


def test_two_workers_measure_what_one_does(tmp_path: Path) -> None:
    rows = Rows(examples(40), 8)
    alone = job(tmp_path / "alone", steps=4, feed=rows)
    run(alone)
    (one,) = [event.values["gradient"] for event in record(alone).events if "gradient" in event.values]
    first, _ = pair(tmp_path, rows, torch.float32)
    (two,) = [event.values["gradient"] for event in record(first).events if "gradient" in event.values]
    assert two == pytest.approx(one, rel=1e-4)


@pytest.mark.parametrize("why", ["one micro-batch", "a penalty", "coupled rows"])
def test_where_it_cannot_be_measured_nothing_is_told(why: str, tmp_path: Path) -> None:
    made = job(tmp_path, steps=1)
    if why == "one micro-batch":
        made.microbatch_tokens = 10_000
    elif why == "a penalty":
        value = next(iter(made.weights.parameters.values()))
        made.penalties = {"own": lambda: value.square().sum()}
    else:
        made.objective = Coupled(made.objective)  # type: ignore[assignment]
    assert one_update(made, 0).noise is None
    assert isinstance(one_update(job(tmp_path, steps=1), 0).noise, Noise)


class Coupled:
    """An objective whose rows are coupled."""

    decomposes, in_pieces = False, True

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
