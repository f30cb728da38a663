"""A portrait of rows: what a page about data shows, as one JSON value.

Counts are of all rows; lengths, duplicates and neighbours are of a sample of at most ``SAMPLE`` rows, which a hash of
what they say chooses, so that the same rows are looked at wherever they stand.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tunesmith.data.curate.base import Drop, Item
from tunesmith.data.curate.exact_dedup import ExactDedup
from tunesmith.data.curate.language import tongue_of
from tunesmith.data.curate.near_dedup import NearDedup
from tunesmith.data.curate.texts import words

SAMPLE = 20_000
LENGTHS = 4000
"""Rows whose lengths are drawn."""
LABELS = 40
"""Most labels that are listed."""
LABEL_WORDS = 3
"""Answers of at most so many words are counted like labels."""
PAIRS = 12
"""Duplicates and neighbours that are shown side by side."""
SHOWN = 600
"""Characters of a row that are shown."""
NEAR = 0.8
EVALUATED = 2000
"""Most evaluation rows that neighbours are looked for."""


@dataclass(frozen=True)
class Seen:
    """A row, where it stands, and on which side: ``train`` or ``evaluation``."""

    item: Item
    file: str
    line: int
    side: str = "train"

    def shown(self) -> dict[str, Any]:
        """The row as a page shows it."""
        text = "\n".join(self.item.texts)
        return {"file": self.file, "line": self.line, "text": text[:SHOWN] + ("…" if len(text) > SHOWN else "")}


@dataclass
class Portrait:
    """Rows looked at one by one (``add``); ``to_json`` is what was seen."""

    rows: Counter[str] = field(default_factory=Counter)
    """Side -> rows."""
    languages: Counter[str] = field(default_factory=Counter)
    labels: dict[str, Counter[str]] = field(default_factory=dict)
    """Side -> labels."""
    _kept: dict[str, list[tuple[int, int, Seen]]] = field(default_factory=dict)

    def add(self, seen: Seen) -> None:
        """Look at a row."""
        self.rows[seen.side] += 1
        label = _label(seen.item)
        if label is not None:
            self.labels.setdefault(seen.side, Counter())[label] += 1
        self.languages[tongue_of(seen.item.of("row"))] += 1
        kept = self._kept.setdefault(seen.side, [])
        entry = (-_rank(seen.item), -self.rows.total(), seen)
        if len(kept) < SAMPLE:
            heapq.heappush(kept, entry)
        elif entry > kept[0]:
            heapq.heapreplace(kept, entry)

    def sample(self, side: str) -> list[Seen]:
        """The rows of ``side`` that are looked at closely, in their order."""
        return [seen for _, _, seen in sorted(self._kept.get(side, ()), key=lambda one: -one[1])]

    def to_json(self) -> dict[str, Any]:
        """Everything, as the page's document."""
        train, evaluation = self.sample("train"), self.sample("evaluation")
        # short answers that hardly repeat are no labels
        labels = {side: found for side, found in self.labels.items() if 2 * len(found) <= found.total()}
        return {
            "rows": dict(self.rows),
            "sampled": {"train": len(train), "evaluation": len(evaluation)},
            "words": {"prompt": _lengths(train, "prompt"), "answer": _lengths(train, "answer")},
            "languages": dict(self.languages.most_common()),
            "labels": {side: dict(found.most_common(LABELS)) for side, found in labels.items()},
            "label_kinds": {side: len(found) for side, found in labels.items()},
            "duplicates": duplicates(train),
            "neighbours": neighbours(train, evaluation[:EVALUATED]),
        }


def _rank(item: Item) -> int:
    text = "\x00".join(item.texts).encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def _label(item: Item) -> str | None:
    if item.record.labels is not None:
        return ", ".join(item.record.labels) or "no label"
    answer = item.answer.strip()
    return answer if answer and len(answer.split()) <= LABEL_WORDS else None


def _lengths(rows: Sequence[Seen], part: Any) -> list[int]:
    return [len(words(seen.item.of(part))) for seen in rows[:LENGTHS]]


def duplicates(rows: Sequence[Seen]) -> dict[str, Any]:
    """How many rows say the same, or nearly the same, as an earlier one, and a few of them beside it."""
    items = [Item(place, 0, seen.item.value, seen.item.record) for place, seen in enumerate(rows)]
    with TemporaryDirectory() as folder:
        exact = dict(ExactDedup().choose(items, Path(folder)))
        left = [item for item in items if item.number not in exact]
        near = dict(NearDedup(threshold=NEAR).choose(left, Path(folder))) if find_spec("rensa") else None
    found = [(number, drop) for number, drop in (near or {}).items() if isinstance(drop, Drop)]
    found += [(number, drop) for number, drop in exact.items() if isinstance(drop, Drop)]
    pairs = [
        {"first": rows[drop.like].shown(), "second": rows[number].shown(), "alike": drop.shown or "the same"}
        for number, drop in found[:PAIRS]
        if drop.like is not None
    ]
    return {"exact": len(exact), "near": None if near is None else len(near), "threshold": NEAR, "pairs": pairs}


def neighbours(train: Sequence[Seen], evaluation: Sequence[Seen]) -> dict[str, Any] | None:
    """The nearest training row of each evaluation row by TF-IDF cosine, the nearest first; None without either."""
    if not train or not evaluation or not find_spec("sklearn"):
        return None
    from tunesmith.data.curate.vectors import counted, weighted, word_counts

    texts = [seen.item.of("row") for seen in (*evaluation, *train)]
    vectors = weighted(word_counts([{**counted(texts[at : at + 1000])} for at in range(0, len(texts), 1000)]))
    asked, known = vectors[: len(evaluation)], vectors[len(evaluation) :]
    best, alike = np.zeros(len(evaluation), dtype=np.int64), np.zeros(len(evaluation))
    for start in range(0, len(evaluation), 200):
        cosines = (asked[start : start + 200] @ known.T).toarray()
        best[start : start + 200], alike[start : start + 200] = cosines.argmax(axis=1), cosines.max(axis=1)
    nearest = np.argsort(-alike, kind="stable")[:PAIRS].tolist()
    pairs = [
        {"evaluation": evaluation[row].shown(), "train": train[best[row]].shown(), "alike": round(float(alike[row]), 4)}
        for row in nearest
    ]
    return {"alike": [round(one, 4) for one in alike.tolist()], "pairs": pairs}


def portrait_of(rows: Iterable[Seen]) -> Mapping[str, Any]:
    """The portrait of ``rows``."""
    found = Portrait()
    for seen in rows:
        found.add(seen)
    return found.to_json()
