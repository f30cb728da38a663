"""Near duplicates: a row that is nearly the same as an earlier one that stays is dropped.

How alike two rows are is the Jaccard similarity J of their sets of word groups. Which pairs are worth comparing is
found by MinHash (Broder 1997) and banding (Leskovec, Rajaraman & Ullman, *Mining of Massive Datasets*, section 3.4): of
b bands of r minima each, two rows share at least one with probability

    P(J) = 1 − (1 − J^r)^b,

and r is the largest for which P(threshold) ≥ 0.99. What shares a band is compared exactly, so there are no false
positives; at the threshold at most 1% of pairs are missed, and fewer above it.

    pass 1   sets of shingles to a file, minima (by rensa), a hash of each band           memory: 4·b bytes a row
    pass 2   bands that several rows share -> earlier rows that stay -> exact J from the file

The trap: rows made from one template (sums, dates, names filled in) *are* nearly the same. Compare prompts and answers
together (``by: row``), and look at the examples in the ledger before believing a threshold.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tunesmith.data.curate.base import Drop, Item, Part, SetStep
from tunesmith.data.curate.needs import needed, version_of
from tunesmith.data.curate.shingles import Hashes, jaccard, shingles

CHUNK = 1000
RECALL = 0.99
"""Least probability that a pair at the threshold is compared."""


class NearDedup(SetStep):
    """Drops rows that are nearly the same as an earlier one (the `curate` extra)."""

    NAME: ClassVar[str] = "near-dedup"
    paper: ClassVar[str] = "https://doi.org/10.1109/SEQUEN.1997.666900"

    threshold: Annotated[float, Field(ge=0.3, le=1.0)] = 0.8
    """Least Jaccard similarity of near duplicates."""
    by: Part = "row"
    """What is compared: the whole `row`, its `prompt`, or its `answer`."""
    group: Annotated[int, Field(ge=1, le=10)] = 2
    """Words in a group; more of them make texts less alike."""
    minima: Annotated[int, Field(ge=16, le=512)] = 96
    """Hash minima a row; more of them compare fewer pairs in vain."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the hashes."""

    def ready(self) -> None:
        """Needs rensa."""
        needed("rensa", "the step near-dedup")

    def fingerprint(self) -> bytes:
        """The version of rensa."""
        return version_of("rensa")

    def choose(self, items: Iterable[Item], folder: Path) -> Mapping[int, Drop]:
        """Every row with an earlier row that stays and is at least ``threshold`` like it."""
        with _Sets(folder / "shingles") as sets:
            bands = self._sketched(items, sets)
            like = _kept_like(bands, sets, self.threshold)
            why = f"nearly the same as an earlier {self.by}"
            return {
                sets.numbers[row]: Drop(why, shown=f"J = {alike:.2f}", like=sets.numbers[other])
                for row, (other, alike) in like.items()
            }

    def _sketched(self, items: Iterable[Item], sets: _Sets) -> NDArray[np.uint32]:
        """Band hashes ``[rows, bands]``; rows without a word are left out of ``sets`` and of the result."""
        size = band_size(self.threshold, self.minima)
        found = [np.empty((0, self.minima // size), dtype=np.uint32)]
        rows = iter(items)
        while chunk := list(islice(rows, CHUNK)):
            made = shingles([item.of(self.by) for item in chunk], self.group)
            filled = [(item.number, one) for item, one in zip(chunk, made, strict=True) if len(one)]
            if filled:
                sets.add([number for number, _ in filled], [one for _, one in filled])
                found.append(_bands(self._minima([one for _, one in filled]), size))
        return np.concatenate(found)

    def _minima(self, made: Sequence[Hashes]) -> NDArray[np.uint32]:
        from rensa import RMinHash

        places = np.concatenate([[0], np.cumsum([len(one) for one in made])]).astype(np.uint64)
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(np.concatenate(made), places, self.minima, self.seed)
        return np.array(matrix.to_rows(), dtype=np.uint32)


def band_size(threshold: float, minima: int) -> int:
    """r: the most minima a band for which a pair at ``threshold`` shares a band with probability ``RECALL``."""
    sizes = range(1, minima + 1)
    enough = [r for r in sizes if 1.0 - (1.0 - threshold**r) ** (minima // r) >= RECALL]
    # at a threshold of 1 every size is enough, and the pairs are those of equal sets
    return min(max(enough, default=1), 16)


def _bands(minima: NDArray[np.uint32], size: int) -> NDArray[np.uint32]:
    """A hash of each band: ``[rows, minima] -> [rows, minima // size]``; equal bands have equal hashes."""
    count = minima.shape[1] // size
    value = np.zeros((len(minima), count), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for place in range(size):
            value = (value ^ minima[:, place : count * size : size].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
            value ^= value >> np.uint64(29)
    return (value >> np.uint64(32)).astype(np.uint32)


def _kept_like(bands: NDArray[np.uint32], sets: _Sets, threshold: float) -> dict[int, tuple[int, float]]:
    """Row -> the first earlier row that stays and is like it, and how much."""
    shared = _shared(bands)
    kept: dict[int, list[int]] = {}
    found: dict[int, tuple[int, float]] = {}
    for row in np.flatnonzero(shared.max(axis=1, initial=-1) >= 0).tolist():
        places = shared[row]
        buckets = places[places >= 0].tolist()
        candidates = sorted({other for bucket in buckets for other in kept.get(bucket, ())})
        match = _first_like(row, candidates, sets, threshold)
        if match is not None:
            found[row] = match
        else:
            for bucket in buckets:
                kept.setdefault(bucket, []).append(row)
    return found


def _first_like(row: int, candidates: Sequence[int], sets: _Sets, threshold: float) -> tuple[int, float] | None:
    if not candidates:
        return None
    own = sets[row]
    for other in candidates:
        alike = jaccard(own, sets[other])
        if alike >= threshold:
            return other, alike
    return None


def _shared(bands: NDArray[np.uint32]) -> NDArray[np.int32]:
    """``[rows, bands]``: a number for each band hash that several rows share, -1 for one that a row has alone."""
    numbered = np.full(bands.shape, -1, dtype=np.int32)
    first = 0
    for band in range(bands.shape[1]):
        _, places, counts = np.unique(bands[:, band], return_inverse=True, return_counts=True)
        several = counts > 1
        names = np.where(several, np.cumsum(several) - 1 + first, -1).astype(np.int32)
        numbered[:, band] = names[places]
        first += int(several.sum())
    return numbered


class _Sets:
    """Shingles in a file, row after row; a few bytes a row stay in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ends: list[int] = [0]
        self.numbers: list[int] = []

    def __enter__(self) -> _Sets:
        self._file = self._path.open("w+b")
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()
        self._path.unlink()

    def add(self, numbers: Sequence[int], made: Sequence[Hashes]) -> None:
        """Append the shingles of the rows ``numbers``."""
        self._file.write(np.concatenate(made).tobytes())
        self._ends += (self._ends[-1] + np.cumsum([len(one) for one in made])).tolist()
        self.numbers += numbers
        self._file.flush()

    def __getitem__(self, row: int) -> Hashes:
        """The set of a row, sorted."""
        first, end = self._ends[row], self._ends[row + 1]
        raw = os.pread(self._file.fileno(), 8 * (end - first), 8 * first)
        return np.unique(np.frombuffer(raw, dtype=np.uint64))
