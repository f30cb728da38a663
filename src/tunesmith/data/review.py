"""Rows judged by a person: which of a fixed random sample are to stay, and what was thought of them.

Which rows are asked about is decided by a hash of a seed and what they say: asking again goes on with the same rows,
and rows that come to the file change little. Verdicts stand in ``rows.review.jsonl`` beside ``rows.jsonl``, a line each
as soon as it is given, the last one of a row counts. The step ``reviewed`` brings them into curation and its ledger.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tunesmith.data.curate.base import Item
from tunesmith.data.curate.stream import Items, Reading
from tunesmith.data.curate.verdicts import Answer, Verdict, key_of, read_verdicts, text_of
from tunesmith.data.formats.base import BadRow
from tunesmith.data.look import recognised
from tunesmith.data.sources import Broken, open_source, unit_of
from tunesmith.errors import UserError
from tunesmith.recipe.schema import SourceConfig


@dataclass(frozen=True)
class Asked:
    """A row to be judged."""

    item: Item
    line: int

    @property
    def key(self) -> str:
        """The row by what it says."""
        return key_of(self.item)


@dataclass(frozen=True)
class Review:
    """The rows of a sample in their order, and the verdicts there are."""

    file: Path
    rows: tuple[Asked, ...]
    verdicts: dict[str, Verdict]

    @classmethod
    def of(cls, source: SourceConfig, *, count: int = 100, seed: int = 0, file: Path | None = None) -> Review:
        """The review of ``source``, begun or gone on with. Raises ``UserError`` as reading does, ``no-rows-left``."""
        ranked = ((-_rank(one.item, seed), -number, one) for number, one in enumerate(_rows(source)))
        chosen = heapq.nlargest(count, ranked)
        if not chosen:
            raise UserError("no row of the file can be read", got=source.path, code="no-rows-left")
        rows = tuple(one for *_, one in sorted(chosen, key=lambda entry: -entry[1]))
        file = file or review_file(Path(source.path))
        return cls(file, rows, read_verdicts(file))

    @property
    def left(self) -> list[int]:
        """Places of rows without a verdict."""
        return [place for place, row in enumerate(self.rows) if row.key not in self.verdicts]

    def say(self, place: int, answer: Answer, note: str = "") -> None:
        """Judge the row at ``place``; the verdict is on the disk when this returns."""
        row = self.rows[place]
        verdict = Verdict(row.key, row.line, answer, note)
        with self.file.open("a", encoding="utf-8") as opened:
            opened.write(json.dumps(asdict(verdict), ensure_ascii=False) + "\n")
            opened.flush()
            os.fsync(opened.fileno())
        self.verdicts[row.key] = verdict

    def counts(self) -> Mapping[str, int]:
        """How many rows of the sample were judged how."""
        said = [self.verdicts[row.key] for row in self.rows if row.key in self.verdicts]
        return {
            "rows": len(self.rows),
            "kept": sum(one.verdict == "keep" for one in said),
            "dropped": sum(one.verdict == "drop" for one in said),
            "notes": sum(bool(one.note) for one in said),
            "left": len(self.left),
        }


def review_file(rows: Path) -> Path:
    """Where the verdicts on ``rows`` stand."""
    return rows.expanduser().with_suffix(".review.jsonl")


def _rank(item: Item, seed: int) -> int:
    salted = str(seed).encode() + b"\0" + text_of(item)
    return int.from_bytes(hashlib.blake2b(salted, digest_size=8).digest(), "big")


def _rows(config: SourceConfig) -> Iterator[Asked]:
    source = open_source(config.path, split=config.split, unit=unit_of(config.format), forgiving=True)
    found = recognised(config, source)
    items = Items([Reading(config.path, found.format.name, found.reason, config.columns)])
    for number, row in enumerate(source.rows()):
        if isinstance(row.value, Broken):
            continue
        try:
            yield Asked(items.read(number, 0, row.value), row.line)
        except BadRow:
            continue
