"""Outliers: rows that are unlike all others.

    score(x) = mean cosine distance of x to its ``neighbours`` nearest rows         (Ramaswamy, Rastogi & Shim 2000)

among all rows, or a sample of ``SAMPLE`` of them where there are more: then the time is linear in the rows. The
``share`` with the largest scores goes.

The trap: what is unlike the rest may be noise, or the only example of what you need most. Look at what was dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tunesmith.data.curate.base import Arrays, Drop, Item, Mark
from tunesmith.data.curate.vectors import Vectors, VectorStep, numbers_of

SAMPLE = 5000
_BLOCK = 1000


class Outliers(VectorStep):
    """Marks or drops the rows that are most unlike all others (`curate` extra)."""

    NAME: ClassVar[str] = "outliers"
    paper: ClassVar[str] = "https://doi.org/10.1145/335191.335437"

    share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.01
    """How large a share of the rows is taken."""
    neighbours: Annotated[int, Field(ge=1, le=100)] = 5
    """Rows that a row is compared with: a group of so many odd rows hides itself."""
    action: Literal["mark", "drop"] = "drop"
    """`mark` notes the rows in the ledger, `drop` drops them."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Decides the sample."""

    def sketch(self, items: Sequence[Item]) -> Arrays:
        """Vectors or word counts."""
        return self.seen(items)

    def pick(self, sketches: Sequence[Arrays], folder: Path) -> Mapping[int, Drop | Mark]:
        """The rows that are unlike the others."""
        numbers, vectors = numbers_of(sketches), self.vectors(sketches)
        scores = distances(vectors, self.neighbours, seed=self.seed)
        worst = np.argsort(-scores, kind="stable")[: round(self.share * len(scores))]
        why = "it is unlike all other rows"
        if self.action == "mark":
            return {int(numbers[row]): Mark(why) for row in worst}
        return {int(numbers[row]): Drop(why, shown=f"distance {scores[row]:.2f}") for row in worst}


def distances(vectors: Vectors, neighbours: int, *, seed: int) -> NDArray[np.float32]:
    """Mean cosine distance ``[n]`` to the nearest rows of the sample, a row itself aside."""
    count = len(vectors)
    sample = np.arange(count)
    if count > SAMPLE:
        sample = np.sort(np.random.default_rng(seed).choice(count, SAMPLE, replace=False))
    nearest = min(neighbours, len(sample) - 1)
    found = np.zeros(count, dtype=np.float32)
    if nearest < 1:
        return found
    for start in range(0, count, _BLOCK):
        alike = vectors[start : start + _BLOCK] @ vectors[sample].T
        alike[sample[None, :] == np.arange(start, start + len(alike))[:, None]] = -np.inf
        found[start : start + _BLOCK] = 1.0 - np.partition(alike, -nearest, axis=1)[:, -nearest:].mean(axis=1)
    return found
