"""Exact duplicates: of rows that say the same, the first stays.

A text is known by the first 16 bytes of its BLAKE2b digest, so memory is about 60 bytes a row, and two different texts
are taken for one with probability under 1e-26 at a million rows.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from tunesmith.data.curate.base import Arrays, Drop, Item, Part, SketchStep

Alike = Literal["same", "blanks", "case"]


class ExactDedup(SketchStep):
    """Drops rows that say the same as an earlier one."""

    NAME: ClassVar[str] = "exact-dedup"

    by: Part = "row"
    """What is compared: the whole `row` (with its labels), its `prompt`, or its `answer`."""
    alike: Alike = "blanks"
    """What counts as the same: the `same` characters; but for `blanks`; but for blanks and letter `case`."""

    def sketch(self, items: Sequence[Item]) -> Arrays:
        """Numbers and digests ``[rows, 2]`` of the rows that have the part."""
        keys = [(item.number, key_of(item, self.by, self.alike)) for item in items]
        filled = [(number, key) for number, key in keys if key is not None]
        digests = np.frombuffer(b"".join(key for _, key in filled), dtype=np.uint64)
        return {"number": np.array([number for number, _ in filled], np.int64), "digest": digests.reshape(-1, 2)}

    def pick(self, sketches: Sequence[Arrays], folder: Path) -> Mapping[int, Drop]:
        """Every row but the first of its kind; rows without the part are never alike."""
        numbers = np.concatenate([np.empty(0, np.int64), *(one["number"] for one in sketches)])
        digests = np.concatenate([np.empty((0, 2), np.uint64), *(one["digest"] for one in sketches)])
        # stable, so that of equal digests the first row stands first
        order = np.lexsort((digests[:, 1], digests[:, 0]))
        new = np.ones(len(order), dtype=np.bool_)
        new[1:] = (digests[order[1:]] != digests[order[:-1]]).any(axis=1)
        firsts = order[new][np.cumsum(new) - 1]
        why = f"the {self.by} is the same as an earlier one"
        copies = zip(numbers[order[~new]].tolist(), numbers[firsts[~new]].tolist(), strict=True)
        return {number: Drop(why, like=first) for number, first in copies}


def key_of(item: Item, by: Part, alike: Alike) -> bytes | None:
    """What equal rows have in common; None where there is nothing to compare."""
    texts = item.texts if by == "row" else (item.of(by),)
    if not any(text.strip() for text in texts):
        return None
    # a byte that no text has keeps ("a b", "c") apart from ("a", "b c")
    joined = "\x00".join(folded(text, alike) for text in texts)
    return hashlib.blake2b(joined.encode(errors="surrogatepass"), digest_size=16).digest()


def folded(text: str, alike: Alike) -> str:
    """``text`` in the form in which texts that count as the same are equal."""
    if alike == "same":
        return text
    text = " ".join(text.split())
    return text if alike == "blanks" else unicodedata.normalize("NFKC", text).casefold()
