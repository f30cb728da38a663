"""Long documents cut into chunks, at ends of paragraphs and sentences where there are any.

A chunk is filled with whole sentences up to ``words``; a sentence that is longer by itself is cut at a word. The last
sentences of a chunk, up to ``overlap`` words, begin the next one as well, so that what stands across an edge is whole
in one of them. Where words are not spaced (Chinese, Japanese) every character is one. Questions about chunks are asked
by a model: `tunesmith make questions`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from tunesmith.data.formats.base import BadRow
from tunesmith.making.base import Count, Made, Parent
from tunesmith.making.building.base import RowBuilder
from tunesmith.metrics.normalise import UNSPACED

_SENTENCE = re.compile(r"\S.*?(?:[.!?]+[\"'”’)\]]*(?=\s|$)|[。！？]+[”’」』]*|\n\s*\n|$)", re.DOTALL)
_WORD = re.compile(f"[{UNSPACED}]|[^\\s{UNSPACED}]+")
Piece = tuple[int, int]


class Chunks(RowBuilder):
    """Cut documents into chunks of whole sentences."""

    NAME: ClassVar[str] = "chunks"
    units: ClassVar[str] = "documents"

    words: Count = 200
    """Most words of a chunk."""
    overlap: Annotated[int, Field(ge=0)] = 0
    """Most words that a chunk repeats of the one before."""
    least: Annotated[int, Field(ge=0)] = 5
    """Chunks with fewer words are left out."""

    @model_validator(mode="after")
    def _goes_on(self) -> Self:
        if self.overlap >= self.words:
            raise ValueError("`overlap` must be smaller than `words`, or no chunk would go on")
        return self

    def build(self, parent: Parent, number: int, prepared: Any) -> Made:
        """A row a chunk, with the characters that it is of its document."""
        record = parent.record
        if record.text is None or record.labels is not None or record.pair is not None:
            raise BadRow("the row is no document")
        places = list(self._chunks(record.text))
        meta = {name: value for name, value in record.meta.items() if name != "made"}
        rows = []
        for chunk, (start, end) in enumerate(places, start=1):
            made = {**parent.origin(self.NAME), "chunk": chunk, "of": len(places), "start": start, "end": end}
            if len(_WORD.findall(record.text[start:end])) >= self.least:
                rows.append({"text": record.text[start:end], **meta, "made": made})
        short = ["the chunk is too short"] * (len(places) - len(rows))
        return Made(rows, dropped=short or ([] if rows else ["the document is empty"]))

    def _chunks(self, text: str) -> Iterator[Piece]:
        held: list[tuple[Piece, int]] = []
        fresh = False
        for piece, count in self._pieces(text):
            if fresh and sum(words for _, words in held) + count > self.words:
                yield held[0][0][0], held[-1][0][1]
                held, fresh = self._repeated(held, count), False
            held.append((piece, count))
            fresh = True
        if fresh:
            yield held[0][0][0], held[-1][0][1]

    def _repeated(self, held: list[tuple[Piece, int]], following: int) -> list[tuple[Piece, int]]:
        """The last sentences that begin the next chunk, too."""
        kept: list[tuple[Piece, int]] = []
        room = min(self.overlap, self.words - following)
        for piece, count in reversed(held):
            if count > room:
                break
            kept.insert(0, (piece, count))
            room -= count
        return kept

    def _pieces(self, text: str) -> Iterator[tuple[Piece, int]]:
        """Sentences with their words; those that are too long in parts."""
        for sentence in _SENTENCE.finditer(text):
            found = [word.span() for word in _WORD.finditer(text, sentence.start(), sentence.end())]
            for first in range(0, len(found), self.words):
                part = found[first : first + self.words]
                yield (part[0][0], part[-1][1]), len(part)
