"""Batches of groups of answers with made-up log-probabilities, for tests of objectives that sample."""

from __future__ import annotations

import numpy as np
import torch

from tunesmith.contracts.batch import Example
from tunesmith.contracts.policy import Outputs
from tunesmith.objectives.sampled import Sampled

LENGTHS = ((3, 1, 5), (2, 4))
"""Tokens of each answer of each group."""


def examples(seed: int = 0, *, names: tuple[str, ...] = ("old", "reference", "advantage")) -> list[Example]:
    """A group for each of ``LENGTHS``, with extras drawn by ``seed``: log-probabilities below 0, others around 0."""
    rng = np.random.default_rng(seed)
    found = []
    for row, lengths in enumerate(LENGTHS):
        start, total = 3 + row, sum(lengths)
        extras = {name: _drawn(name, rng, total) for name in names}
        branches = tuple((start + np.cumsum([0, *lengths[:-1]])).tolist())
        ids = rng.integers(1, 300, start + total).astype(np.int32)
        found.append(Example(ids, np.arange(start + total) >= start, row, branches=branches, extras=extras))
    return found


def _drawn(name: str, rng: np.random.Generator, count: int) -> np.ndarray:
    values = rng.normal(size=count)
    return (-1.5 + 0.4 * values if name in ("old", "reference") else values).astype(np.float32)


def loss_of(
    objective: Sampled, rows: list[Example], logprob: torch.Tensor, value: torch.Tensor | None = None
) -> torch.Tensor:
    """The update's loss as the engine makes it: terms divided by counts, by weight."""
    batch = objective.collate(rows)
    outputs = Outputs(logprob=logprob, entropy=torch.full_like(logprob, 0.5), value=value)
    counts = objective.counts(rows)
    return sum(
        (term.weight * term.values.sum() / counts[term.name] for term in objective.loss(outputs, batch)),
        torch.zeros((), dtype=logprob.dtype),
    )


def flat(rows: list[Example], name: str) -> torch.Tensor:
    """An extra of all rows, float64 ``[N]``."""
    return torch.from_numpy(np.concatenate([row.extras[name] for row in rows])).double()


def lengths() -> list[int]:
    """Tokens of each answer of all groups."""
    return [length for group in LENGTHS for length in group]
