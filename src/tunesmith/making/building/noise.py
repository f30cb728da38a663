"""The same row with a little noise in its words, offline: swapped, deleted, and signs inserted.

    swap      two words change places                              (Wei & Zou 2019, EDA, arXiv 1901.11196, section 2)
    delete    words are left out                                   (the same)
    insert    signs . ; ? : ! , before words, no word is added     (Karimi et al. 2021, AEDA, arXiv 2108.13191)

``share`` of the words are changed, at least one. EDA's synonyms are left out on purpose: a word list knows no meaning,
and a synonym in the wrong sense changes the label.

The trap: "not good" without "not". Words that deny are neither deleted nor swapped.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from tunesmith.data.formats.base import BadRow
from tunesmith.making.base import Count, Made, Parent
from tunesmith.making.building.base import RowBuilder
from tunesmith.making.changing import changeable, changed
from tunesmith.making.rows import same_row

DENIALS = frozenset({"no", "not", "nor", "none", "never", "nothing", "nobody", "neither", "without", "cannot"})
SIGNS = ".;?:!,"
SHORTEST = 4
"""Words that a text must have."""
TRIES = 10
_PART = re.compile(r"\S+|\s+")
Parts = list[str]
Way = Literal["swap", "delete", "insert"]


def _as_list(given: Any) -> Any:
    return [given] if isinstance(given, str) else given


class Noise(RowBuilder):
    """Make copies of texts and questions with words swapped, words deleted, or signs inserted."""

    NAME: ClassVar[str] = "noise"
    paper: ClassVar[str] = "Wei & Zou 2019, EDA (arXiv 1901.11196); Karimi et al. 2021, AEDA (arXiv 2108.13191)"

    how: Annotated[list[Way], Field(min_length=1), BeforeValidator(_as_list)] = ["swap", "delete", "insert"]
    """Ways, of which every copy gets one."""
    copies: Count = 1
    """Copies of each row."""
    share: Annotated[float, Field(gt=0.0, le=0.5)] = 0.1
    """Share of the words that are changed."""
    keep: bool = True
    """Whether the row itself is written as well, before its copies."""

    def build(self, parent: Parent, number: int, prepared: Any) -> Made:
        """The row and its copies, each unlike the others."""
        record = parent.record
        text = changeable(record)
        if len(text.split()) < SHORTEST:
            raise BadRow(f"its text has fewer than {SHORTEST} words")
        drawn = self.random(number)
        found: dict[str, Way] = {}
        for _ in range(self.copies * TRIES):
            way = drawn.choice(self.how)
            made = self._noisy(text, way, drawn)
            if made not in (text, *found):
                found[made] = way
            if len(found) == self.copies:
                break
        rows = [same_row(parent, record, {**parent.origin(self.NAME), "by": "itself"})] if self.keep else []
        rows += [
            same_row(parent, changed(record, made), {**parent.origin(self.NAME), "by": way})
            for made, way in found.items()
        ]
        return Made(rows, dropped=["no other copy is found"] * (self.copies - len(found)))

    def _noisy(self, text: str, way: Way, drawn: random.Random) -> str:
        parts: Parts = _PART.findall(text)
        count = max(1, round(self.share * len(text.split())))
        return "".join(WAYS[way](parts, count, drawn)).strip()


def _free(parts: Parts) -> list[int]:
    """Places of words that may be moved or left out."""
    return [place for place, part in enumerate(parts) if part.strip() and not _denies(part)]


def _denies(word: str) -> bool:
    plain = word.lower().strip("\"'“”‘’.,;:!?()")
    return plain in DENIALS or plain.endswith(("n't", "n’t"))


def _swap(parts: Parts, count: int, drawn: random.Random) -> Parts:
    for _ in range(count):
        places = _free(parts)
        if len(places) > 1:
            one, other = drawn.sample(places, 2)
            parts[one], parts[other] = parts[other], parts[one]
    return parts


def _delete(parts: Parts, count: int, drawn: random.Random) -> Parts:
    places = _free(parts)
    gone = set(drawn.sample(places, min(count, len(places) - 1))) if len(places) > 1 else set[int]()
    # the blanks before a word go with it
    gone |= {place - 1 for place in gone if place}
    return [part for place, part in enumerate(parts) if place not in gone]


def _insert(parts: Parts, count: int, drawn: random.Random) -> Parts:
    places = [place for place, part in enumerate(parts) if part.strip()]
    before = {place: drawn.choice(SIGNS) for place in drawn.sample(places, min(count, len(places)))}
    return [f"{before[place]} {part}" if place in before else part for place, part in enumerate(parts)]


WAYS: Mapping[Way, Callable[[Parts, int, random.Random], Parts]] = {"swap": _swap, "delete": _delete, "insert": _insert}
