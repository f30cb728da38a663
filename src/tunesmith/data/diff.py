"""What two versions of the same rows differ in.

Rows are the same when all their texts are, wherever they stand. Of the others, rows with the same question (or, failing
that, the same answer), but for case, signs and blanks, are one row that was changed; the rest was removed or added.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tunesmith.data.curate.base import Item
from tunesmith.data.curate.stream import Items, Reading
from tunesmith.data.curate.texts import words
from tunesmith.data.formats.base import BadRow
from tunesmith.data.ledger import short
from tunesmith.data.look import recognised
from tunesmith.data.sources import Broken, open_source
from tunesmith.recipe.schema import SourceConfig

EXAMPLES = 5


@dataclass(frozen=True)
class Place:
    """A row: its line and the beginning of what it says."""

    line: int
    text: str


@dataclass(frozen=True)
class Difference:
    """Rows of two versions; each old and new row is counted once. Unreadable rows are told apart by their bytes."""

    same: int
    changed: list[tuple[Place, Place]]
    removed: list[Place]
    added: list[Place]

    def to_json(self) -> dict[str, Any]:
        """Counts, and a few examples."""

        def shown(places: Iterable[Place]) -> list[dict[str, Any]]:
            return [{"line": one.line, "text": one.text} for one in list(places)[:EXAMPLES]]

        pairs = [dict(zip(("old", "new"), shown(pair), strict=True)) for pair in self.changed[:EXAMPLES]]
        counts = {"changed": len(self.changed), "removed": len(self.removed), "added": len(self.added)}
        return {
            "same": self.same,
            **counts,
            "examples": {"changed": pairs, "removed": shown(self.removed), "added": shown(self.added)},
        }


@dataclass(frozen=True)
class _Row:
    whole: bytes
    question: bytes
    answer: bytes
    place: Place


def diff(old: str, new: str) -> Difference:
    """What became of the rows of the file ``old`` in ``new``; a ``UserError`` for files that cannot be read."""
    before, after = _rows(old), _rows(new)
    same = _paired(before, after, "whole")
    changed = [*_paired(before, after, "question"), *_paired(before, after, "answer")]
    changed.sort(key=lambda pair: pair[0].line)
    return Difference(len(same), changed, [one.place for one in before], [one.place for one in after])


def _rows(path: str) -> list[_Row]:
    source = open_source(path, forgiving=True)
    found = recognised(SourceConfig(path=path), source)
    items = Items([Reading(path, found.format.name, found.reason, {})])
    rows = []
    for number, row in enumerate(source.rows()):
        if isinstance(row.value, Broken):
            rows.append(_unreadable(row.line, row.value.text or row.value.reason))
            continue
        try:
            item = items.read(number, 0, row.value)
        except BadRow:
            rows.append(_unreadable(row.line, str(row.value)))
        else:
            rows.append(_row(item, row.line))
    return rows


def _row(item: Item, line: int) -> _Row:
    whole = _digest("\x00".join(item.texts))
    return _Row(whole, _loose(item.prompt), _loose(item.answer), Place(line, short("\n".join(item.texts))))


def _unreadable(line: int, text: str) -> _Row:
    return _Row(_digest(text), b"", b"", Place(line, short(text)))


def _loose(text: str) -> bytes:
    """A digest of the words of ``text``; b"" where it has none."""
    found = words(text)
    return _digest(" ".join(found)) if found else b""


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=12).digest()


def _paired(before: list[_Row], after: list[_Row], by: str) -> list[tuple[Place, Place]]:
    """Rows that are alike ``by`` a digest, first with first; they are taken out of both lists."""
    waiting: dict[bytes, list[_Row]] = defaultdict(list)
    for row in reversed(after):
        waiting[getattr(row, by)].append(row)
    pairs, left, taken = [], [], set[int]()
    for row in before:
        key = getattr(row, by)
        others = waiting.get(key) if key else None
        if others:
            other = others.pop()
            taken.add(id(other))
            pairs.append((row.place, other.place))
        else:
            left.append(row)
    before[:] = left
    after[:] = [row for row in after if id(row) not in taken]
    return pairs
