"""Near duplicates: a row that is nearly the same as an earlier one that stays is dropped.

How alike two rows are is the Jaccard similarity J of their sets of word groups. Which pairs are worth comparing is
found by MinHash (Broder 1997) and banding (Leskovec, Rajaraman & Ullman, *Mining of Massive Datasets*, section 3.4): of
b bands of r minima each, two rows share at least one with probability

    P(J) = 1 − (1 − J^r)^b,

and r is the largest for which P(threshold) ≥ 0.99. What shares a band is compared exactly, so there are no false
positives; at the threshold at most 1% of pairs are missed, and fewer above it.

    sketch   shingles, minima (by rensa), a hash of each band: to a file a chunk, by several processes
    pick     bands that several rows share -> earlier rows that stay -> exact J          memory: 4·b bytes a row

The trap: rows made from one template (sums, dates, names filled in) *are* nearly the same. Compare prompts and answers
together (``by: row``), and look at the examples in the ledger before believing a threshold.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tunesmith.data.curate.base import Arrays, Drop, Item, Part, SketchStep
from tunesmith.data.curate.needs import needed, version_of
from tunesmith.data.curate.shingles import Hashes, jaccard, shingles

RECALL = 0.99
"""Least probability that a pair at the threshold is compared."""
COMPARED = 200
"""Most rows that a row is compared with: those with most bands in common, so that crowds cost no squares."""


class NearDedup(SketchStep):
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

    def sketch(self, items: Sequence[Item]) -> Arrays:
        """Numbers, band hashes ``[rows, bands]`` and shingles; rows without a word are left out."""
        size = band_size(self.threshold, self.minima)
        made = shingles([item.of(self.by) for item in items], self.group)
        filled = [(item.number, one) for item, one in zip(items, made, strict=True) if len(one)]
        sets = [one for _, one in filled]
        bands = _bands(self._minima(sets), size) if sets else np.empty((0, self.minima // size), dtype=np.uint32)
        return {
            "number": np.array([number for number, _ in filled], dtype=np.int64),
            "bands": bands,
            "lengths": np.array([len(one) for one in sets], dtype=np.int64),
            "shingles": np.concatenate([np.empty(0, dtype=np.uint64), *sets]),
        }

    def pick(self, sketches: Sequence[Arrays], folder: Path) -> Mapping[int, Drop]:
        """Every row with an earlier row that stays and is at least ``threshold`` like it."""
        shared = _shared([one["bands"] for one in sketches], self.minima // band_size(self.threshold, self.minima))
        numbers = np.concatenate([np.empty(0, dtype=np.int64), *(one["number"] for one in sketches)])
        paired = np.flatnonzero(shared.max(axis=1, initial=-1) >= 0)
        with _Sets(folder / "shingles") as sets:
            sets.write(sketches, paired)
            like = _kept_like(shared[paired], sets, self.threshold)
        why = f"nearly the same as an earlier {self.by}"
        return {
            int(numbers[paired[row]]): Drop(why, shown=f"J = {alike:.2f}", like=int(numbers[paired[other]]))
            for row, (other, alike) in like.items()
        }

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


def _kept_like(shared: NDArray[np.int32], sets: _Sets, threshold: float) -> dict[int, tuple[int, float]]:
    """Row -> the first earlier row that stays and is like it, and how much."""
    kept: dict[int, list[int]] = {}
    found: dict[int, tuple[int, float]] = {}
    for row, places in enumerate(shared):
        buckets = places[places >= 0].tolist()
        match = _first_like(row, _candidates(buckets, kept), sets, threshold)
        if match is not None:
            found[row] = match
        else:
            for bucket in buckets:
                kept.setdefault(bucket, []).append(row)
    return found


def _candidates(buckets: Sequence[int], kept: Mapping[int, Sequence[int]]) -> list[int]:
    """Rows that stay and share a bucket, in their order."""
    common = Counter[int]()
    for bucket in buckets:
        common.update(kept.get(bucket, ())[-COMPARED:])
    return sorted(row for row, _ in common.most_common(COMPARED))


def _first_like(row: int, candidates: Sequence[int], sets: _Sets, threshold: float) -> tuple[int, float] | None:
    for other in candidates:
        alike = jaccard(sets[row], sets[other])
        if alike >= threshold:
            return other, alike
    return None


def _shared(bands: Sequence[NDArray[np.uint32]], count: int) -> NDArray[np.int32]:
    """``[rows, count]``: a number for each band hash that several rows share, -1 for one that a row has alone."""
    columns = []
    first = 0
    for band in range(count):
        hashes = np.concatenate([np.empty(0, dtype=np.uint32), *(one[:, band] for one in bands)])
        _, places, counts = np.unique(hashes, return_inverse=True, return_counts=True)
        several = counts > 1
        names = np.where(several, np.cumsum(several) - 1 + first, -1).astype(np.int32)
        columns.append(names[places])
        first += int(several.sum())
    return np.stack(columns, axis=1)


class _Sets:
    """Shingles of the rows that are compared, in a file; a few bytes a row stay in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ends = np.zeros(1, dtype=np.int64)
        self._read = lru_cache(4096)(self._from_file)

    def __enter__(self) -> _Sets:
        self._file = self._path.open("w+b")
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()
        self._path.unlink()

    def write(self, sketches: Sequence[Arrays], rows: NDArray[np.int64]) -> None:
        """Keep the shingles of ``rows``, numbered over all sketches; they are then known by their place there."""
        first, found = 0, [self._ends]
        for one in sketches:
            lengths = one["lengths"]
            wanted = np.zeros(len(lengths), dtype=np.bool_)
            wanted[rows[(rows >= first) & (rows < first + len(lengths))] - first] = True
            self._file.write(one["shingles"][np.repeat(wanted, lengths)].tobytes())
            found.append(lengths[wanted])
            first += len(lengths)
        self._file.flush()
        self._ends = np.cumsum(np.concatenate(found))

    def __getitem__(self, row: int) -> Hashes:
        """The set of a row, sorted."""
        return self._read(row)

    def _from_file(self, row: int) -> Hashes:
        first, end = int(self._ends[row]), int(self._ends[row + 1])
        raw = os.pread(self._file.fileno(), 8 * (end - first), 8 * first)
        return np.unique(np.frombuffer(raw, dtype=np.uint64))
