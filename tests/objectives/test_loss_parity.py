"""Loss and gradient against transformers' own loss on an equal, padded batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from families import VOCABULARY, tiny
from tunesmith.contracts.batch import Example
from tunesmith.models.policy import CausalPolicy
from tunesmith.objectives.pretrain import Pretrain
from tunesmith.objectives.sft import Sft

LENGTHS = (17, 4, 11, 1)


def rows(*, everything: bool) -> list[Example]:
    generator = np.random.default_rng(3)
    return [
        Example(
            generator.integers(1, VOCABULARY, length).astype(np.int32),
            np.ones(length, dtype=bool) if everything else generator.random(length) < 0.5,
            row,
        )
        for row, length in enumerate(LENGTHS)
    ]


def padded(examples: list[Example]) -> dict[str, torch.Tensor]:
    """What a data collator would hand to transformers: labels of -100 where nothing is learned."""
    shape = (len(examples), max(map(len, examples)))
    ids, mask, labels = torch.zeros(shape).long(), torch.zeros(shape).long(), torch.full(shape, -100)
    for row, example in enumerate(examples):
        own, size = torch.tensor(example.ids).long(), len(example)
        ids[row, :size], mask[row, :size] = own, 1
        labels[row, :size] = torch.where(torch.tensor(example.trained), own, -100)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


@pytest.mark.parametrize("pieces", [1, 2, 4])
@pytest.mark.parametrize("objective", [Sft(), Pretrain()], ids=["sft", "pretrain"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_loss_and_gradient_are_transformers_own(family: str, objective: Sft | Pretrain, pieces: int) -> None:
    """float32 sums in another order: 1e-6 of the loss, 1e-5 of the gradient's norm."""
    examples = rows(everything=isinstance(objective, Pretrain))
    theirs = tiny(family).requires_grad_(True)
    wanted = theirs(**padded(examples)).loss
    wanted.backward()
    policy = CausalPolicy(tiny(family).requires_grad_(True))
    counts = objective.counts(examples)
    total = 0.0
    for piece in [examples[start::pieces] for start in range(pieces)]:
        batch = objective.collate(piece)
        for term in objective.loss(policy(batch, objective.want), batch):
            part = term.weight * term.values.sum() / counts[term.name]
            part.backward()
            total += float(part.detach())
    assert total == pytest.approx(float(wanted.detach()), rel=1e-6)
    ours, other = (
        torch.cat([parameter.grad.reshape(-1) for parameter in model.parameters()]) for model in (policy.model, theirs)
    )
    assert float((ours - other).norm() / other.norm()) < 1e-5
