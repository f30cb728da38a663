"""Decontamination: rows that hold what a model will be examined on are dropped.

    overlap   a text of the row shares ``ngram`` words in a row with a text of the files (13 as for GPT-3: Brown et al.
              2020, arXiv:2005.14165, appendix C); a shorter text must be the same, word for word
    near      the Jaccard similarity of their sets of word pairs is at least ``near``

Near texts are found exactly, without sampling: two sets with J ≥ t share one of the first |A| − ⌈t·|A|⌉ + 1 elements of
A in any fixed order (prefix filter; Chaudhuri, Ganti & Kaushik 2006), and rare elements are put first.

The trap: every file of questions has words that stand around all of them ("Answer the following question …"). Groups
of words in more than ``template`` rows of a file are taken for such and do not count.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, PrivateAttr

from tunesmith.data.curate.base import Drop, Item, RowStep
from tunesmith.data.curate.shingles import Hashes, jaccard, several_shingles, shingle_sets
from tunesmith.data.curate.texts import words
from tunesmith.data.ledger import short
from tunesmith.data.sources import Broken, Source, open_source

NEAR_GROUP = 2


class Decontaminate(RowStep):
    """Drops rows that hold texts of the given evaluation files, or nearly so."""

    NAME: ClassVar[str] = "decontaminate"
    paper: ClassVar[str] = "https://arxiv.org/abs/2005.14165"

    against: Annotated[list[str], Field(min_length=1)]
    """Files of what is examined, in any shape that rows can have."""
    columns: list[str] = []
    """Columns of those files that are compared; by default every text."""
    ngram: Annotated[int, Field(ge=3)] = 13
    """How many words in a row give a row away."""
    near: Annotated[float, Field(ge=0.5, le=1.0)] | None = 0.8
    """Least Jaccard similarity of word pairs that gives a row away; null compares no near texts."""
    shortest: Annotated[int, Field(ge=1)] = 5
    """Texts of the files with fewer words are not compared (labels, names, numbers)."""
    template: Annotated[int, Field(ge=1)] = 10
    """Groups of words in more rows of a file than this are its template and do not count."""
    _clean: set[str] = PrivateAttr(default_factory=set)

    def ready(self) -> None:
        """The files can be read."""
        assert self._index is not None

    def fingerprint(self) -> bytes:
        """The content of the files."""
        return hashlib.blake2b(b"".join(source.fingerprint() for source in self._sources())).digest()

    def read_ahead(self, items: Sequence[Item]) -> None:
        """Find the few texts that share anything with the files at all; the others are looked at no more."""
        texts = list(dict.fromkeys(text for item in items for text in _said(item)))
        self._clean = set(texts) - self._index.suspects(texts)

    def look(self, item: Item) -> Drop | None:
        """Dropped where a text of the row, or its prompt as a whole, is of the files."""
        for text in dict.fromkeys(_said(item)):
            if text not in self._clean and len(words(text)) >= self.shortest:
                found = self._index.overlap(text)
                if found:
                    return Drop(f"shares {self.ngram} words in a row, or a whole short text, with an evaluation file")
                match = self._index.near(text, self.near) if self.near is not None else None
                if match is not None:
                    return Drop("nearly the same as a text of an evaluation file", shown=match)
        return None

    def _sources(self) -> list[Source]:
        return [open_source(path, unit="lines") for path in self.against]

    @cached_property
    def _index(self) -> _Index:
        index = _Index(self.ngram)
        for source in self._sources():
            rows = [row.value for row in source.rows() if not isinstance(row.value, Broken)]
            texts = [[text for text in _texts(row, self.columns) if len(words(text)) >= self.shortest] for row in rows]
            index.add(texts, self.template)
        index.close(self.near)
        return index


def _said(item: Item) -> tuple[str, ...]:
    return (*item.texts, item.prompt)


def _texts(value: Any, columns: list[str]) -> Iterator[str]:
    """Every text in a row, however deep it stands."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            if not columns or key in columns:
                yield from _texts(one, [])
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one, [])


@dataclass
class _Index:
    """What the files hold: groups of words, and sets of word pairs."""

    ngram: int

    def __post_init__(self) -> None:
        self._grams: set[int] = set()
        self._sets: list[Hashes] = []
        self._texts: list[str] = []
        self._prefixes: dict[int, list[int]] = defaultdict(list)

    def add(self, rows: list[list[str]], template: int) -> None:
        """The texts of one file, a list a row."""
        counts: Counter[int] = Counter()
        for texts in rows:
            made = shingle_sets(texts, self.ngram)
            counts.update({gram for one in made for gram in one.tolist()})
            self._sets += shingle_sets(texts, NEAR_GROUP)
            self._texts += map(short, texts)
        self._grams |= {gram for gram, count in counts.items() if count <= template}

    def close(self, near: float | None) -> None:
        """Everything is added: index the rare beginnings of the sets."""
        self._begin(near)
        self._known = tuple(np.sort(np.array(list(one), dtype=np.uint64)) for one in (self._grams, self._prefixes))

    def suspects(self, texts: Sequence[str]) -> set[str]:
        """Those of ``texts`` that share a group of words, or a rare beginning, with the files."""
        found: set[str] = set()
        made = several_shingles(texts, (self.ngram, NEAR_GROUP))
        for known, group in zip(self._known, range(2), strict=True):
            flat = np.concatenate([np.empty(0, dtype=np.uint64), *(one[group] for one in made)])
            owners = np.repeat(np.arange(len(texts)), [len(one[group]) for one in made])
            at = np.minimum(np.searchsorted(known, flat), max(len(known) - 1, 0))
            hits = known[at] == flat if len(known) else np.zeros(len(flat), dtype=np.bool_)
            found |= {texts[owner] for owner in np.unique(owners[hits]).tolist()}
        return found

    def _begin(self, near: float | None) -> None:
        if near is None:
            return
        often = Counter(one for pairs in self._sets for one in pairs.tolist())
        for number, pairs in enumerate(self._sets):
            rare_first = sorted(pairs.tolist(), key=lambda one: (often[one], one))
            for one in rare_first[: len(pairs) - ceil(near * len(pairs)) + 1]:
                self._prefixes[one].append(number)

    def overlap(self, text: str) -> bool:
        """Whether a group of words is in the files."""
        return not self._grams.isdisjoint(shingle_sets([text], self.ngram)[0].tolist())

    def near(self, text: str, least: float) -> str | None:
        """A text of the files whose similarity is at least ``least``, and how much it is."""
        own = shingle_sets([text], NEAR_GROUP)[0]
        candidates = {number for one in own.tolist() for number in self._prefixes.get(one, ())}
        for number in sorted(candidates):
            alike = jaccard(own, self._sets[number])
            if alike >= least:
                return f"J = {alike:.2f}, like {self._texts[number]!r}"
        return None
