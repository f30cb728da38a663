"""Which sides rows stand on that are nearly the same as a given one.

Pairs are found by the bands of ``curate.near_dedup`` and compared exactly. A row asks each side in turn and is done
with it at the first row that is like it, and copies are asked once, so crowds of nearly the same rows cost no squares.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.curate.base import Item, chunks
from tunesmith.data.curate.near_dedup import NearDedup
from tunesmith.data.curate.shingles import Hashes, jaccard

HELD = 4096
"""Sets of shingles that are held in memory."""


class Neighbours:
    """Rows with their sides, asked one after the other; rows go by the numbers of their items.

    ``folder`` holds the shingles of rows that share a band with others while this is in use.
    """

    def __init__(self, step: NearDedup, items: Iterable[Item], folder: Path) -> None:
        self._threshold = step.threshold
        self._buckets: dict[int, dict[int, list[int]]] = defaultdict(dict)
        self._known: set[tuple[bytes, int]] = set()
        numbers, bands, lengths, file = [], [], [], folder / "shingles"
        with file.open("wb") as written:
            for chunk in chunks(items):
                sketch = step.sketch(chunk)
                numbers.append(sketch["number"])
                bands.append(sketch["bands"])
                lengths.append(sketch["lengths"])
                written.write(sketch["shingles"].tobytes())
        self._shared = _shared(bands)
        self._numbers: list[int] = [number for chunk in numbers for number in chunk.tolist()]
        self._index = {number: index for index, number in enumerate(self._numbers)}
        self._ends = np.concatenate([[0], *lengths]).cumsum()
        self._set = lru_cache(HELD)(self._read)
        size = int(self._ends[-1])
        self._shingles = np.memmap(file, dtype=np.uint64, mode="r") if size else np.zeros(0, dtype=np.uint64)

    def like(self, number: int) -> dict[int, int]:
        """Side -> the first row added on it that is like row ``number``."""
        buckets = self._of(number)
        sides = sorted({side for bucket in buckets for side in self._buckets.get(bucket, ())})
        if not sides:
            return {}
        own = self._set(self._index[number])
        found = {side: self._first(own, buckets, side) for side in sides}
        return {side: self._numbers[index] for side, index in found.items() if index is not None}

    def add(self, number: int, side: int) -> None:
        """Row ``number`` stands on ``side`` from now on."""
        buckets = self._of(number)
        if not buckets:
            return
        index = self._index[number]
        content = hashlib.blake2b(self._set(index).tobytes(), digest_size=16).digest()
        if (content, side) not in self._known:  # a copy would answer as the first one does
            self._known.add((content, side))
            for bucket in buckets:
                self._buckets[bucket].setdefault(side, []).append(index)

    def _of(self, number: int) -> list[int]:
        index = self._index.get(number)
        return [] if index is None else [bucket for bucket in self._shared[index].tolist() if bucket >= 0]

    def _read(self, index: int) -> Hashes:
        return np.unique(self._shingles[int(self._ends[index]) : int(self._ends[index + 1])])

    def _first(self, own: Hashes, buckets: Sequence[int], side: int) -> int | None:
        seen: set[int] = set()
        for bucket in buckets:
            for other in self._buckets.get(bucket, {}).get(side, ()):
                if other not in seen:
                    seen.add(other)
                    if jaccard(own, self._set(other)) >= self._threshold:
                        return other
        return None


def _shared(bands: Sequence[NDArray[np.uint32]]) -> NDArray[np.int32]:
    """``[rows, bands]``: a number for each band hash that several rows share, -1 for one that a row has alone."""
    if not bands:
        return np.empty((0, 0), dtype=np.int32)
    hashes = np.concatenate(bands)
    numbered = np.full(hashes.shape, -1, dtype=np.int32)
    first = 0
    for band in range(hashes.shape[1]):
        _, places, counts = np.unique(hashes[:, band], return_inverse=True, return_counts=True)
        several = counts > 1
        numbered[:, band] = np.where(several, np.cumsum(several) - 1 + first, -1)[places]
        first += int(several.sum())
    return numbered
