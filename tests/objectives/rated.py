"""Rated answers as tokens, what some model might say of them, and the loss the engine would make of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.policy import Outputs

WORDS = 60
"""Below the vocabulary of ``families``."""


def example(
    beginning: int, *answers: int, row: int = 0, seed: int = 0, read: bool = False, extras: Any = None
) -> Example:
    """Random tokens: a beginning and answers of these lengths, every answer token a target.

    With ``read`` only the last of each is one; its label is the answer's rank.
    """
    draw = np.random.default_rng([seed, row])
    edges = np.cumsum([beginning, *answers]).tolist()
    ids = draw.integers(4, WORDS, edges[-1]).astype(np.int32)
    trained = np.arange(edges[-1]) >= beginning
    if read:
        trained = np.isin(np.arange(edges[-1]), [edge - 1 for edge in edges[1:]])
    return Example(
        ids,
        trained,
        row,
        labels=np.arange(len(answers), dtype=np.int32) if read else None,
        branches=tuple(edges[:-1]),
        extras={name: np.array(values, dtype=np.float32) for name, values in (extras or {}).items()},
    )


def said(batch: Batch, sums: list[float], *, reference: list[float] | None = None) -> tuple[Outputs, Batch]:
    """Outputs in which each sequence's log-probabilities sum to ``sums`` (float64, unequal over its tokens)."""
    from dataclasses import replace

    def spread(totals: list[float]) -> torch.Tensor:
        unit = batch.readout.unit
        share = torch.arange(1, len(unit) + 1, dtype=torch.float64)
        whole = torch.zeros(len(batch.unit_ids), dtype=torch.float64).index_add(0, unit, share)
        return torch.tensor(totals, dtype=torch.float64)[unit] * share / whole[unit]

    beside = {} if reference is None else {"reference": Outputs(logprob=spread(reference))}
    return Outputs(logprob=spread(sums).requires_grad_()), replace(batch, beside=beside)


def terms(objective: Any, outputs: Outputs, batch: Batch, examples: list[Example]) -> dict[str, float]:
    """Each term divided by its count, as the engine reports it."""
    counts = objective.counts(examples)
    return {term.name: float(term.values.detach().sum()) / counts[term.name] for term in objective.loss(outputs, batch)}


def total(objective: Any, outputs: Outputs, batch: Batch, examples: list[Example]) -> torch.Tensor:
    """The loss that is minimised."""
    counts = objective.counts(examples)
    parts = [term.weight * term.values.sum() / counts[term.name] for term in objective.loss(outputs, batch)]
    return torch.stack([part.double() for part in parts]).sum()
