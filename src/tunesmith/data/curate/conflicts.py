"""Conflicting labels: the same text with different labels.

Of labelled rows only, because an open question may well have several good answers. With ``majority`` the label that
most rows of a text have is believed; where none has more than the others, all of its rows go.

    sketch   digests of each row's text and label
    pick     rows in the order of their texts; texts with several labels are judged      memory: about 80 bytes a row
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tunesmith.data.curate.base import Arrays, Drop, Item, SketchStep
from tunesmith.data.curate.exact_dedup import Alike, key_of


class Conflicts(SketchStep):
    """Drops rows whose text stands elsewhere with another label."""

    NAME: ClassVar[str] = "conflicts"

    keep: Literal["majority", "none"] = "majority"
    """Which rows of a text stay: those with the label of the `majority`, or `none`."""
    alike: Alike = "case"
    """What counts as the same text: the `same` characters; but for `blanks`; but for blanks and letter `case`."""
    answer_words: Annotated[int, Field(ge=0)] = 0
    """Answers of conversations with at most so many words count as labels too; 0 for none."""

    def sketch(self, items: Sequence[Item]) -> Arrays:
        """Numbers, and digests of texts ``[rows, 2]`` and labels ``[rows]`` of the rows that have both."""
        keyed = ((item, key_of(item, "prompt", self.alike)) for item in items if self._is_label(item))
        filled = [(item, key) for item, key in keyed if key is not None]
        return {
            "number": np.array([item.number for item, _ in filled], dtype=np.int64),
            "text": np.frombuffer(b"".join(key for _, key in filled), dtype=np.uint64).reshape(-1, 2),
            "label": np.array([_label(item) for item, _ in filled], dtype=np.uint64),
        }

    def pick(self, sketches: Sequence[Arrays], folder: Path) -> Mapping[int, Drop]:
        """Rows that contradict others."""
        dropped: dict[int, Drop] = {}
        for numbers, labels in _disputed(sketches):
            dropped.update(self._judged(list(zip(numbers, labels, strict=True))))
        return dropped

    def _is_label(self, item: Item) -> bool:
        if item.record.labels is not None:
            return not item.record.spans
        return bool(item.answer) and len(item.answer.split()) <= self.answer_words

    def _judged(self, rows: Sequence[tuple[int, int]]) -> Mapping[int, Drop]:
        (most, votes), (_, next_votes) = Counter(label for _, label in rows).most_common(2)
        believed = most if self.keep == "majority" and votes > next_votes else None
        why = "its label contradicts the same text elsewhere"
        first: dict[int, int] = {}
        for number, label in rows:
            first.setdefault(label, number)
        return {
            number: Drop(why, like=next(other for one, other in first.items() if one != label))
            for number, label in rows
            if label != believed
        }


def _label(item: Item) -> int:
    said = item.answer.strip().encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(said, digest_size=8).digest(), "little")


def _disputed(sketches: Sequence[Arrays]) -> Iterator[tuple[list[int], list[int]]]:
    """Numbers and labels of the rows of each text that has several labels, in the order of the rows."""
    if not sketches:
        return
    numbers, texts, labels = (np.concatenate([one[name] for one in sketches]) for name in ("number", "text", "label"))
    order = np.lexsort((numbers, texts[:, 1], texts[:, 0]))
    texts, labels = texts[order], labels[order]
    begins = np.flatnonzero(np.concatenate([[True], (texts[1:] != texts[:-1]).any(axis=1)])[: len(order)])
    ends = np.append(begins[1:], len(order))
    for begin, end in _of_several(labels, begins, ends):
        yield numbers[order[begin:end]].tolist(), labels[begin:end].tolist()


def _of_several(
    labels: NDArray[np.uint64], begins: NDArray[np.int64], ends: NDArray[np.int64]
) -> Iterator[tuple[int, int]]:
    """Those of the stretches ``begins`` to ``ends`` in which not all labels are the same."""
    if not len(begins):
        return
    several = np.minimum.reduceat(labels, begins) != np.maximum.reduceat(labels, begins)
    yield from zip(begins[several].tolist(), ends[several].tolist(), strict=True)
