"""Conflicting labels: the same text with different labels.

Of labelled rows only, because an open question may well have several good answers. With ``majority`` the label that
most rows of a text have is believed; where none has more than the others, all of its rows go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tunesmith.data.curate.base import Drop, Item, SetStep
from tunesmith.data.curate.exact_dedup import Alike, key_of


class Conflicts(SetStep):
    """Drops rows whose text stands elsewhere with another label."""

    NAME: ClassVar[str] = "conflicts"

    keep: Literal["majority", "none"] = "majority"
    """Which rows of a text stay: those with the label of the `majority`, or `none`."""
    alike: Alike = "case"
    """What counts as the same text: the `same` characters; but for `blanks`; but for blanks and letter `case`."""
    answer_words: Annotated[int, Field(ge=0)] = 0
    """Answers of conversations with at most so many words count as labels too; 0 for none."""

    def choose(self, items: Iterable[Item], folder: Path) -> Mapping[int, Drop]:
        """Rows that contradict others."""
        said: dict[bytes, list[tuple[int, str]]] = {}
        for item in items:
            key = key_of(item, "prompt", self.alike)
            if key is not None and self._is_label(item):
                said.setdefault(key, []).append((item.number, item.answer.strip()))
        dropped: dict[int, Drop] = {}
        for rows in said.values():
            if len({label for _, label in rows}) > 1:
                dropped.update(self._judged(rows))
        return dropped

    def _is_label(self, item: Item) -> bool:
        if item.record.labels is not None:
            return not item.record.spans
        return bool(item.answer) and len(item.answer.split()) <= self.answer_words

    def _judged(self, rows: list[tuple[int, str]]) -> Mapping[int, Drop]:
        (most, votes), (_, next_votes) = Counter(label for _, label in rows).most_common(2)
        believed = most if self.keep == "majority" and votes > next_votes else None
        why = "its label contradicts the same text elsewhere"
        first: dict[str, int] = {}
        for number, label in rows:
            first.setdefault(label, number)
        return {
            number: Drop(why, like=next(other for one, other in first.items() if one != label))
            for number, label in rows
            if label != believed
        }
