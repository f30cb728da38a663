"""The page about data: rows of a file, a recipe or a run looked at closely, written as one HTML file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.data.curate.base import Item
from tunesmith.data.curate.stream import Items, Reading
from tunesmith.data.formats.base import BadRow
from tunesmith.data.ledger import Entry, Example, Ledger, SourceCount, short
from tunesmith.data.look import recognised
from tunesmith.data.portrait import LENGTHS, Seen, portrait_of
from tunesmith.data.sources import Broken, open_source, unit_of
from tunesmith.files import write_json, write_text
from tunesmith.recipe.schema import SourceConfig
from tunesmith.report.data_page import DataFacts, data_page
from tunesmith.report.documents import Documents

if TYPE_CHECKING:
    from tunesmith.data.prepare import Prepared


@dataclass(frozen=True)
class DataReport:
    """The ``page``, and the files its numbers stand in."""

    page: Path
    facts: Path
    ledger: Path


def report_file(source: SourceConfig, *, evaluation: SourceConfig | None, out: Path) -> DataReport:
    """The page about the rows of a file, beside those of ``evaluation``. Raises ``UserError`` as reading does."""
    ledger = Ledger([])
    rows = [*_rows(source, ledger, "train"), *(_rows(evaluation, ledger, "evaluation") if evaluation else ())]
    portrait = portrait_of(rows)
    return _written(source.path, out, {"portrait": portrait}, _ledger_beside(Path(source.path)) or ledger.to_json())


def report_prepared(name: str, prepared: Prepared, *, out: Path) -> DataReport:
    """The page about prepared rows: tokens and what is trained of them as well."""
    portrait = portrait_of(_prepared_rows(prepared))
    lengths, trained = prepared.train.lengths, prepared.train.trained_counts
    chosen = np.linspace(0, len(lengths) - 1, min(len(lengths), LENGTHS)).astype(int)
    tokens = {
        "lengths": lengths[chosen].tolist(),
        "trained_share": [round(float(one), 4) for one in trained[chosen] / np.maximum(lengths[chosen], 1)],
        "max_tokens": prepared.job.max_tokens,
    }
    return _written(name, out, {"portrait": portrait, "tokens": tokens}, prepared.ledger.to_json())


def _written(name: str, out: Path, facts: Mapping[str, Any], ledger: Mapping[str, Any]) -> DataReport:
    """The page, and beside it the two files that its numbers stand in."""
    beside, second = out.with_suffix(".json"), out.with_suffix(".ledger.json")
    kept = {key: one for key, one in ledger.items() if key != "not_simply_kept"}
    documents = Documents({beside.name: facts, second.name: kept})
    write_text(out, data_page(Path(name).name, DataFacts(documents, beside.name, second.name)))
    write_json(beside, facts)
    write_json(second, kept)
    return DataReport(out, beside, second)


def _rows(config: SourceConfig, ledger: Ledger, side: str) -> Iterator[Seen]:
    """Rows that can be read; all are counted in ``ledger``."""
    source = open_source(config.path, split=config.split, unit=unit_of(config.format), forgiving=True)
    found = recognised(config, source)
    place = len(ledger.sources)
    ledger.sources.append(SourceCount(config.path, found.format.name, found.reason, validation=side != "train"))
    items = Items([Reading(config.path, found.format.name, found.reason, config.columns)])
    for number, row in enumerate(source.rows()):
        name = Path(row.file).name
        read = _read(items, number, row.value)
        if isinstance(read, Item):
            ledger.sources[place].count("kept")
            yield Seen(read, name, row.line, side)
        else:
            ledger.add(Entry(number, place, row.line, "dropped", read.reason), Example(name, row.line, read.text))


def _read(items: Items, number: int, value: dict[str, Any] | Broken) -> Item | Broken:
    if isinstance(value, Broken):
        return value
    try:
        return items.read(number, 0, value)
    except BadRow as bad:
        return Broken(str(bad), short(value))


def _prepared_rows(prepared: Prepared) -> Iterator[Seen]:
    sides = (("train", prepared.train), ("evaluation", prepared.validation))
    for side, store in sides:
        lines = dict(
            zip(store.rows.tolist(), zip(store.sources.tolist(), store.lines.tolist(), strict=True), strict=True)
        )
        for row, record in sorted(prepared.records(list(lines)).items()):
            source, line = lines[row]
            file = Path(prepared.ledger.sources[source].path).name
            yield Seen(Item(row, source, {}, record), file, line, side)


def _ledger_beside(path: Path) -> dict[str, Any] | None:
    """What curation wrote beside a file that it made."""
    file = path.with_suffix(".ledger.json")
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    return found if isinstance(found, dict) else None
