"""Exact duplicates: of rows that say the same, the first stays.

A text is known by the first 16 bytes of its BLAKE2b digest, so memory is about 100 bytes a row, and two different texts
are taken for one with probability under 1e-26 at a million rows.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar, Literal

from tunesmith.data.curate.base import Drop, Item, Part, SetStep

Alike = Literal["same", "blanks", "case"]


class ExactDedup(SetStep):
    """Drops rows that say the same as an earlier one."""

    NAME: ClassVar[str] = "exact-dedup"

    by: Part = "row"
    """What is compared: the whole `row` (with its labels), its `prompt`, or its `answer`."""
    alike: Alike = "blanks"
    """What counts as the same: the `same` characters; but for `blanks`; but for blanks and letter `case`."""

    def choose(self, items: Iterable[Item], folder: Path) -> Mapping[int, Drop]:
        """Every row but the first of its kind; rows without the part are never alike."""
        first: dict[bytes, int] = {}
        dropped: dict[int, Drop] = {}
        why = f"the {self.by} is the same as an earlier one"
        for item in items:
            key = key_of(item, self.by, self.alike)
            if key is not None and first.setdefault(key, item.number) != item.number:
                dropped[item.number] = Drop(why, like=first[key])
        return dropped


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
