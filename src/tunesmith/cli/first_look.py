"""The first look of ``tunesmith init`` at a data file: its format, how many rows it has, and a sample of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunesmith.contracts.data import Record
    from tunesmith.data.recognise import Recognised

LOOK_AT = 200
"""Rows that decide the format, and whose lengths are measured."""
MANY_ROWS = 10_000
"""From here on rows are not counted, and one epoch is enough for a first run."""
COMPARED = {"preference": "dpo", "ranked": "dpo", "unpaired": "kto", "steps": "reward"}
"""Format of rows with good and bad answers -> the objective that usually learns from them."""


@dataclass(frozen=True)
class Look:
    """What was seen; ``rows`` None where they are more than ``MANY_ROWS``, ``note`` what the user should know."""

    found: Recognised
    rows: int | None
    records: Sequence[Record]
    note: str = ""


def look(data: str, columns: Mapping[str, str], split: str | None) -> Look:
    """Look at the first rows of ``data`` and count the others; a ``UserError`` where no format reads them."""
    from tunesmith.data.formats import FORMATS
    from tunesmith.data.recognise import Recognised, check_columns, rename
    from tunesmith.data.sources import Broken, open_source

    rows = open_source(data, split=split).rows()
    sample = [row.value for row in islice(rows, LOOK_AT) if not isinstance(row.value, Broken)]
    check_columns(sample, columns, path=data)
    renamed = [rename(row, columns) for row in sample]
    found, records = _recognised(renamed, data, columns)
    if len(sample) == 1 and Path(data).suffix == ".txt":
        # one document cannot be split into training and validation rows; its paragraphs can
        found = Recognised(FORMATS.load("paragraphs"), "one long text, taken a paragraph a row")
        rows, sample, records = open_source(data, unit="paragraphs").rows(), [], []
    count = len(sample) + sum(1 for _ in islice(rows, MANY_ROWS))
    return Look(found, None if count >= MANY_ROWS else count, records, _note(found.format.name, records))


def _recognised(
    rows: Sequence[Mapping[str, Any]], path: str, columns: Mapping[str, str]
) -> tuple[Recognised, list[Record]]:
    """The format and the rows that it can read."""
    from tunesmith.data.formats.base import BadRow
    from tunesmith.data.recognise import recognise

    found = recognise(rows, path=path, columns=columns)
    records = []
    for row in rows:
        try:
            records.append(found.format.read(row))
        except BadRow:
            continue
    return found, records


def _note(form: str, records: Sequence[Record]) -> str:
    """What else the rows of a format that is usually imitated are good for."""
    if form in COMPARED or not any(len(record.candidates) > 1 for record in records):
        return ""
    return "The rows also hold an answer that was rejected: afterwards `objective=dpo` with model.start learns from it."
