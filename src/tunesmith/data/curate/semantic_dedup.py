"""Semantic duplicates: of rows that mean nearly the same by an encoder, the first stays.

SemDeDup (Abbas et al. 2023, arXiv:2303.09540): rows are put into clusters by their vectors, and within a cluster a row
goes when its cosine to an earlier one that stays is at least ``threshold``. Up to ``ALL`` rows are one cluster, so that
all pairs are compared; above, spherical k-means of about ``ROWS`` rows a cluster misses pairs that a border parts.

The trap: what means the same depends on the encoder, and rows of one template mean nearly the same to all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tunesmith.data.curate.base import Arrays, Drop, Item
from tunesmith.data.curate.vectors import Vectors, VectorStep, numbers_of

ALL = 20_000
ROWS = 1000
_BLOCK = 1000
_ROUNDS = 8


class SemanticDedup(VectorStep):
    """Drops rows that mean nearly the same as an earlier one, by the vectors of a text encoder (`curate` extra)."""

    NAME: ClassVar[str] = "semantic-dedup"
    paper: ClassVar[str] = "https://arxiv.org/abs/2303.09540"

    encoder: str
    """A text encoder: a run of the objective embed, a sentence-transformers folder, or another."""
    threshold: Annotated[float, Field(ge=0.5, le=1.0)] = 0.95
    """Least cosine of duplicates."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Where the clusters begin."""

    def sketch(self, items: Sequence[Item]) -> Arrays:
        """Vectors."""
        return self.seen(items)

    def pick(self, sketches: Sequence[Arrays], folder: Path) -> Mapping[int, Drop]:
        """Every row with an earlier row of its cluster that stays and means nearly the same."""
        numbers, vectors = numbers_of(sketches), self.vectors(sketches)
        found: dict[int, Drop] = {}
        clusters = clustered(vectors, seed=self.seed)
        for cluster in range(int(clusters.max(initial=0)) + 1):
            rows = np.flatnonzero(clusters == cluster)
            for row, (other, alike) in repeated(vectors[rows], self.threshold).items():
                shown = f"cosine {alike:.2f}"
                like = int(numbers[rows[other]])
                found[int(numbers[rows[row]])] = Drop(f"means the same as an earlier {self.of}", shown, like)
        return found


def repeated(vectors: Vectors, threshold: float) -> dict[int, tuple[int, float]]:
    """Row -> the first earlier row that stays and whose cosine is at least ``threshold``, and the cosine."""
    gone = np.zeros(len(vectors), dtype=np.bool_)
    found: dict[int, tuple[int, float]] = {}
    for start in range(0, len(vectors), _BLOCK):
        alike = vectors[start : start + _BLOCK] @ vectors[: start + _BLOCK].T
        for place in np.flatnonzero((np.tril(alike, start - 1) >= threshold).any(axis=1)).tolist():
            row = start + place
            others = np.flatnonzero((alike[place, :row] >= threshold) & ~gone[:row])
            if len(others):
                gone[row] = True
                found[row] = int(others[0]), float(alike[place, others[0]])
    return found


def clustered(vectors: Vectors, *, seed: int) -> NDArray[np.int64]:
    """The cluster ``[n]`` of each vector."""
    count = len(vectors)
    if count <= ALL:
        return np.zeros(count, dtype=np.int64)
    chance = np.random.default_rng(seed)
    centres = vectors[chance.choice(count, max(2, count // ROWS), replace=False)]
    sample = vectors[chance.choice(count, min(count, 50 * len(centres)), replace=False)]
    for _ in range(_ROUNDS):
        places = _nearest(sample, centres)
        sums = np.zeros_like(centres)
        np.add.at(sums, places, sample)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(lengths > 0, sums / np.maximum(lengths, 1e-12), centres)
    return _nearest(vectors, centres)


def _nearest(vectors: Vectors, centres: Vectors) -> NDArray[np.int64]:
    blocks = (vectors[start : start + _BLOCK] for start in range(0, len(vectors), _BLOCK))
    return np.concatenate([(block @ centres.T).argmax(axis=1) for block in blocks])
