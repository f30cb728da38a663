"""The loss of ``sft`` and ``pretrain`` on a few numbers, in closed form; plausible mistakes fail the same check."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tunesmith.contracts.batch import Batch, Example, Readout
from tunesmith.contracts.objective import Term
from tunesmith.contracts.policy import Outputs
from tunesmith.objectives.pretrain import Pretrain
from tunesmith.objectives.sft import Sft


def example(ids: list[int], trained: list[int], row: int) -> Example:
    return Example(np.array(ids, dtype=np.int32), np.array(trained, dtype=bool), row)


ROWS = [example([5, 6, 7, 8], [0, 0, 1, 1], 10), example([9, 4], [1, 1], 11), example([3], [1], 12)]
"""Trained: 7 after (5, 6), 8 after (5, 6, 7), 4 after (9). A first token (9, 3) has nothing before it: no target."""


def outputs() -> Outputs:
    """p(7) = 1/2, p(8) = 1/8, p(4) = 1/4."""
    return Outputs(logprob=torch.tensor([0.5, 0.125, 0.25]).log().requires_grad_())


Loss = Callable[[Outputs, Batch], list[Term]]
Counts = Callable[[Sequence[Example]], Mapping[str, float]]
Collate = Callable[[Sequence[Example]], Batch]


def check(collate: Collate, counts: Counts, loss: Loss) -> None:
    """What is summed, over which unit, and what it is divided by: log 16, log 4 and nothing; three targets.

    The loss is (log 2 + log 8 + log 4) / 3 = 2 log 2; its gradient by each log-probability is -1/3.
    """
    batch = collate(ROWS)
    assert batch.readout.rows.tolist() == [1, 2, 4]
    assert batch.readout.labels.tolist() == [7, 8, 4]
    assert batch.readout.unit.tolist() == [0, 0, 1]
    assert batch.main.positions.tolist() == [0, 1, 2, 3, 0, 1, 0]
    assert batch.unit_ids.tolist() == [10, 11, 12]
    assert dict(counts(ROWS)) == {"nll": 3.0}
    read = outputs()
    (term,) = loss(read, batch)
    assert term.name == "nll"
    assert term.values.dtype == torch.float32
    assert torch.allclose(term.values, torch.tensor([16.0, 4.0, 1.0]).log())
    total = term.weight * term.values.sum() / counts(ROWS)[term.name]
    assert float(total.detach()) == pytest.approx(2 * np.log(2))
    assert read.logprob is not None
    (gradient,) = torch.autograd.grad(total, read.logprob)
    assert torch.allclose(gradient, torch.full((3,), -1 / 3))


OBJECTIVES = {"sft": Sft(), "pretrain": Pretrain()}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_closed_form(name: str) -> None:
    objective = OBJECTIVES[name]
    check(objective.collate, objective.counts, objective.loss)


def flipped_sign(objective: Any) -> tuple[Collate, Counts, Loss]:
    return (
        objective.collate,
        objective.counts,
        lambda outputs, batch: [replace(term, values=-term.values) for term in objective.loss(outputs, batch)],
    )


def dropped_mask(objective: Any) -> tuple[Collate, Counts, Loss]:
    def collate(rows: Sequence[Example]) -> Batch:
        return objective.collate([Example(row.ids, np.ones_like(row.trained), row.row) for row in rows])

    return collate, objective.counts, objective.loss


def shifted(objective: Any) -> tuple[Collate, Counts, Loss]:
    """Each row predicts the token it reads."""

    def collate(rows: Sequence[Example]) -> Batch:
        batch = objective.collate(rows)
        old = batch.readout
        return replace(batch, readout=Readout(old.rows + 1, old.labels, old.weights, old.unit))

    return collate, objective.counts, objective.loss


def mean_of_sequences(objective: Any) -> tuple[Collate, Counts, Loss]:
    def loss(outputs: Outputs, batch: Batch) -> list[Term]:
        sizes = torch.bincount(batch.readout.unit, minlength=len(batch.unit_ids)).clamp(min=1)
        return [replace(term, values=term.values / sizes) for term in objective.loss(outputs, batch)]

    return objective.collate, objective.counts, loss


def counts_first_tokens(objective: Any) -> tuple[Collate, Counts, Loss]:
    return objective.collate, lambda rows: {"nll": float(sum(row.trained.sum() for row in rows))}, objective.loss


def across_borders(objective: Any) -> tuple[Collate, Counts, Loss]:
    """Rows glued to one: the last token of one predicts the first of the next."""

    def collate(rows: Sequence[Example]) -> Batch:
        ids, trained = (np.concatenate([getattr(row, name) for row in rows]) for name in ("ids", "trained"))
        return objective.collate([Example(ids, trained, 0)])

    return collate, objective.counts, objective.loss


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize(
    "mistake", [flipped_sign, dropped_mask, shifted, mean_of_sequences, counts_first_tokens, across_borders]
)
def test_a_mistake_fails_the_check(mistake: Callable[[Any], tuple[Collate, Counts, Loss]], name: str) -> None:
    with pytest.raises(AssertionError):
        check(*mistake(OBJECTIVES[name]))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_weight_counts_its_target_so_often(name: str) -> None:
    objective = OBJECTIVES[name]
    batch = objective.collate(ROWS)
    readout = replace(batch.readout, weights=torch.tensor([1.0, 0.0, 2.0]))
    (term,) = objective.loss(outputs(), replace(batch, readout=readout))
    assert torch.allclose(term.values, torch.tensor([2.0, 16.0, 1.0]).log())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_nothing_to_learn_is_a_sum_of_nothing(name: str) -> None:
    objective = OBJECTIVES[name]
    batch = objective.collate([example([5, 6], [0, 0], 0)])
    logprob = torch.zeros(0, requires_grad=True)
    (term,) = objective.loss(Outputs(logprob=logprob), batch)
    assert term.values.tolist() == [0.0]
    term.values.sum().backward()
    assert dict(objective.counts([example([5, 6], [1, 0], 0)])) == {"nll": 0.0}
