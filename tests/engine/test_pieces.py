"""Rows that the loss couples, computed piece by piece: the loss and gradients of one pass, in the memory of a piece."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from training import Rows, job, run

from families import VOCABULARY, configs
from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.policy import Outputs, Want
from tunesmith.engine import microbatch
from tunesmith.engine.pieces import in_pieces
from tunesmith.models.policy import CausalPolicy
from tunesmith.objectives.embed import Embed

BUDGET = 40
OPTIONS: dict[str, dict[str, Any]] = {
    "contrastive": {"loss_function": "contrastive", "symmetric": True, "dimensions": [8, 32]},
    "cosent": {"loss_function": "cosent"},
}


def triplets(count: int, *, seed: int = 0) -> list[Example]:
    """Rows of an anchor, a positive and, every second time, a negative, each read whole; scores and digests beside."""
    generator = np.random.default_rng(seed)
    rows = []
    for row in range(count):
        lengths = generator.integers(3, 9, 2 + row % 2)
        size = int(lengths.sum())
        ids = generator.integers(3, VOCABULARY, size).astype(np.int32)
        extras = {
            "texts": generator.integers(0, 2**24, len(lengths)).astype(np.float32),
            "score": generator.random(1).astype(np.float32),
        }
        edges = tuple(np.cumsum([0, *lengths[:-1]]).tolist())
        rows.append(
            Example(ids, np.ones(size, bool), row, labels=np.zeros(size, dtype=np.int32), branches=edges, extras=extras)
        )
    return rows


def bert(*, dropout: float) -> CausalPolicy:
    from transformers import BertModel

    config = configs()["bert"]
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = dropout
    torch.manual_seed(0)
    return CausalPolicy(BertModel(config, add_pooling_layer=False).double()).train()


def gradients(policy: nn.Module, objective: Embed, rows: Sequence[Example], outputs: Outputs) -> list[torch.Tensor]:
    """Of the objective's loss, with its value last."""
    batch, counts = objective.collate(rows), objective.counts(rows)
    loss = sum(term.weight * term.values.sum() / counts[term.name] for term in objective.loss(outputs, batch))
    assert isinstance(loss, torch.Tensor)
    parameters = [one for one in policy.parameters() if one.requires_grad]
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [*(one for one in found if one is not None), loss.detach()]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("name", OPTIONS)
def test_gradients_are_those_of_one_pass(name: str, dropout: float) -> None:
    """A float64 body under a float32 loss. With dropout: those of a pass over the pieces that keeps everything, from
    the same state of the generator."""
    policy, objective = bert(dropout=dropout), Embed(**OPTIONS[name])
    pieces = microbatch.cut(triplets(12), BUDGET)
    rows = [row for piece in pieces for row in piece]
    assert len(pieces) > 3
    batches = [objective.collate(piece) for piece in pieces]

    def forward(batch: Batch) -> Outputs:
        outputs: Outputs = policy(batch, objective.want)
        return outputs

    torch.manual_seed(7)
    found = gradients(policy, objective, rows, in_pieces(forward, batches))
    if dropout:
        torch.manual_seed(7)
        parts = [forward(batch).hidden for batch in batches]
        whole = Outputs(hidden=torch.cat([part for part in parts if part is not None]))
    else:
        whole = forward(objective.collate(rows))
    wanted = gradients(policy, objective, rows, whole)
    assert len(found) == len(wanted) > 10
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


class Watched(nn.Module):
    """A policy that remembers how many tokens it was given at once."""

    def __init__(self, policy: nn.Module) -> None:
        super().__init__()
        self.policy = policy
        self.seen: list[int] = []

    def forward(self, batch: Batch, want: Want) -> Outputs:
        self.seen.append(batch.tokens)
        outputs: Outputs = self.policy(batch, want)
        return outputs


@pytest.mark.parametrize("name", OPTIONS)
def test_training_in_pieces_is_training_at_once(name: str, tmp_path: Path) -> None:
    """Float32 on a decoder: only the order of sums differs. No forward pass is larger than a piece, and each is made
    twice; without the option there is one pass over everything."""
    rows = triplets(24)
    curves, weights = {}, {}
    for cached in (False, True):
        made = job(
            tmp_path / str(cached),
            steps=3,
            objective=Embed(cached=cached, **OPTIONS[name]),
            feed=Rows(rows, 12),
            microbatch_tokens=BUDGET,
            wrap=Watched,
        )
        curves[cached], weights[cached] = run(made)
        assert isinstance(made.policy, Watched)
        pieces = [len(microbatch.cut(Rows(rows, 12).update(step), BUDGET)) for step in range(3)]
        assert len(made.policy.seen) == (2 * sum(pieces) if cached else 3)
        assert (max(made.policy.seen) <= BUDGET) == cached
    assert curves[True] == pytest.approx(curves[False], rel=1e-6)
    for key, value in weights[True].items():
        torch.testing.assert_close(value, weights[False][key], rtol=0.0, atol=1e-5)


def test_an_update_that_fits_is_one_pass(tmp_path: Path) -> None:
    results = [
        run(job(tmp_path / str(cached), steps=2, objective=Embed(loss_function="contrastive", cached=cached),
                feed=Rows(triplets(8), 4), microbatch_tokens=10_000))
        for cached in (False, True)
    ]  # fmt: skip
    (curve, weights), (wanted, others) = results
    assert curve == pytest.approx(wanted, rel=1e-6)  # rows stand in another order
    for key, value in weights.items():
        torch.testing.assert_close(value, others[key], rtol=0.0, atol=1e-5)


def test_rows_that_are_scored_one_by_one_are_cut_anyway() -> None:
    assert not Embed(loss_function="triplet", cached=True).in_pieces
    assert Embed(loss_function="contrastive", cached=True).in_pieces
    assert not Embed(loss_function="contrastive").in_pieces
