"""``tunesmith data split``: the rows of a file in a file a side, with a ledger that says where every row went.

OUT/train.jsonl  validation.jsonl  [test.jsonl]  split.json
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.data.curate.stream import Items, Reading
from tunesmith.data.formats.base import BadRow
from tunesmith.data.ledger import BETWEEN, Entry, Example, Ledger, SourceCount, short
from tunesmith.data.lines import json_line
from tunesmith.data.look import recognised
from tunesmith.data.parting import SIDES, Asked, part
from tunesmith.data.sources import Broken, Row, open_source, unit_of
from tunesmith.errors import UserError
from tunesmith.files import whole_folder, write_json
from tunesmith.recipe.schema import SourceConfig, SplitConfig

LEDGER = "split.json"
LARGEST = 20
"""Strata that the result names; the ledger has all."""


@dataclass(frozen=True)
class SplitFiles:
    """What was written: rows of each side (by name), by stratum too where they were stratified, and the ledger."""

    out: Path
    counts: dict[str, int]
    strata: dict[str, dict[str, int]]
    ledger: Ledger
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The same as JSON holds it."""
        told = {key: self.ledger.to_json()[key] for key in ("rows", "dropped", "reasons", "examples")}
        files = {side: str(self.out / f"{side}.jsonl") for side in self.counts}
        largest = dict(sorted(self.strata.items(), key=lambda one: -sum(one[1].values()))[:LARGEST])
        return {**told, "sides": self.counts, "strata": largest, "notes": list(self.notes), "files": files}


def split_file(
    source: SourceConfig, config: SplitConfig, *, shares: Sequence[float], seed: int, out: Path
) -> SplitFiles:
    """Part the rows of ``source`` into the folder ``out``, which must not be there.

    Raises ``UserError``: ``rows-exist``, ``empty-side``, and what reading and ``parting.part`` raise.
    """
    if out.exists():
        hint = f"Choose another --out; `--keep {out}` lets the rows that stand there stay on their side."
        raise UserError(f"{out} is there already", hint=hint, code="rows-exist")
    opened = open_source(source.path, split=source.split, unit=unit_of(source.format), forgiving=True)
    found = recognised(source, opened)
    reading = Reading(source.path, found.format.name, found.reason, source.columns)
    parted = part([opened], [reading], Asked(config, tuple(shares), seed))
    ledger = Ledger([SourceCount(reading.path, reading.format, reading.why)])
    names = SIDES[: len(shares)]
    counts = dict.fromkeys(names, 0)
    items = Items([reading])
    with whole_folder(out) as folder:
        with ExitStack() as files:
            paths = [folder / f"{name}.jsonl" for name in names]
            written = [files.enter_context(path.open("wb")) for path in paths]
            for number, row in enumerate(opened.rows()):
                side = int(parted.sides[number])
                if side < 0:
                    _leave_out(ledger, number, row, parted.reasons.get(number) or _trouble(items, number, row))
                    continue
                assert not isinstance(row.value, Broken)
                written[side].write(json_line(row.value))
                counts[names[side]] += 1
                ledger.sources[0].count("kept")
        _check(counts, shares)
        by_stratum = {
            value: {name: sides.get(side, 0) for side, name in enumerate(names)}
            for value, sides in parted.strata.items()
        }
        about = {"shares": list(shares), "seed": seed, "split": config.model_dump(), "source": source.model_dump()}
        told = {**about, "sides": counts, "strata": by_stratum, "notes": list(parted.notes), **ledger.to_json()}
        write_json(folder / LEDGER, told)
    return SplitFiles(out, counts, by_stratum, ledger, parted.notes)


def _leave_out(ledger: Ledger, number: int, row: Row, reason: str) -> None:
    text = row.value.text if isinstance(row.value, Broken) else short(row.value)
    ledger.add(Entry(number, 0, row.line, "dropped", reason), Example(row.file, row.line, text))


def _trouble(items: Items, number: int, row: Row) -> str:
    """Why a row cannot be read."""
    if isinstance(row.value, Broken):
        return row.value.reason
    try:
        items.read(number, 0, row.value)
    except BadRow as bad:
        return str(bad)
    return BETWEEN


def _check(counts: dict[str, int], shares: Sequence[float]) -> None:
    empty = [name for name, share in zip(counts, shares, strict=True) if share and not counts[name]]
    if empty:
        raise UserError(
            f"no row is left for {' and '.join(empty)}",
            got=", ".join(f"{count:,} {name}" for name, count in counts.items()),
            hint="There are too few rows, or all of them are tied together: raise `near`, or leave `group` out.",
            code="empty-side",
        )
