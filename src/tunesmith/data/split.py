"""Which sequences are validation: whole groups of the same prompt, chosen by their content.

A group goes to validation when a hash of (seed, its prompt) is below the share. Adding or removing rows therefore
moves no other row, and duplicates and rows with the same prompt are always on one side. Where there are too few texts
for the share (one book), the pieces of long texts are parted instead: they hold different words. ``sides`` parts by
more than prompts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tunesmith.seed import derive


def by_share(
    groups: NDArray[np.uint64], share: float, *, seed: int, pieces: NDArray[np.int32] | None = None
) -> NDArray[np.bool_]:
    """bool ``[n]``, True for validation; both sides hold at least one of two or more groups when ``share`` > 0.

    ``pieces`` int32 ``[n]``: which piece of a long text a sequence is (0 for what must stay together).
    """
    if share == 0.0 or len(groups) == 0:
        return np.zeros(len(groups), dtype=np.bool_)
    if pieces is not None and len(np.unique(groups)) * min(share, 1.0 - share) < 1.0:
        groups = groups ^ pieces.astype(np.uint64)
    hashes = scrambled(groups ^ np.uint64(derive(seed, "validation")))
    chosen = hashes < np.uint64(int(share * 2.0**64))
    if chosen.all() or not chosen.any():
        # few rows: the group nearest to the other side goes there, or none where there is only one
        chosen = hashes == hashes.min() if len(np.unique(hashes)) > 1 else np.zeros(len(groups), dtype=np.bool_)
    return np.asarray(chosen, dtype=np.bool_)


def scrambled(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele, Lea, Flood 2014): every input bit changes half of the output bits."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)), dtype=np.uint64)
