"""The first look of ``tunesmith init`` at a data file: its format, how many rows it has, and a sample of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.errors import UserError

if TYPE_CHECKING:
    from tunesmith.contracts.data import Record
    from tunesmith.data.recognise import Recognised

LOOK_AT = 200
"""Rows that decide the format, and whose lengths are measured."""
MANY_ROWS = 10_000
"""From here on rows are not counted, and one epoch is enough for a first run."""
PREFERENCES = {"chosen", "rejected"}


@dataclass(frozen=True)
class Look:
    """What was seen; ``rows`` None where they are more than ``MANY_ROWS``, ``note`` what the user should know."""

    found: Recognised
    rows: int | None
    records: Sequence[Record]
    note: str = ""


def look(data: str, columns: Mapping[str, str], split: str | None) -> Look:
    """Look at the first rows of ``data`` and count the others; a ``UserError`` where nothing can learn from them."""
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
    return Look(found, None if count >= MANY_ROWS else count, records, _note(renamed))


def _recognised(
    rows: Sequence[Mapping[str, Any]], path: str, columns: Mapping[str, str]
) -> tuple[Recognised, list[Record]]:
    """The format and the rows that it can read; preferences it cannot read are refused by their name."""
    from tunesmith.data.formats.base import BadRow
    from tunesmith.data.recognise import recognise

    if any(isinstance(row.get("label"), bool) and ("messages" in row or "completion" in row) for row in rows):
        raise _no_objective(
            path,
            "answers labelled good or bad (true, false)",
            "keep the rows whose label is true in a file of their own",
        )
    preferences = _has_preferences(rows)
    try:
        found = recognise(rows, path=path, columns=columns)
    except UserError:
        if preferences:
            raise _pairs(path) from None
        raise
    records = []
    for row in rows:
        try:
            records.append(found.format.read(row))
        except BadRow:
            continue
    if preferences and len(records) * 2 < len(rows):
        raise _pairs(path)
    return found, records


def _has_preferences(rows: Sequence[Mapping[str, Any]]) -> bool:
    return any(row.keys() >= PREFERENCES for row in rows)


def _note(rows: Sequence[Mapping[str, Any]]) -> str:
    if not _has_preferences(rows):
        return ""
    return "The columns 'chosen' and 'rejected' are left alone: no objective learns preferences yet."


def _pairs(path: str) -> UserError:
    return _no_objective(
        path,
        "an answer that was chosen and one that was rejected",
        "name the column of the answer, such as --column completion=chosen beside a prompt, or --column answer=chosen "
        "beside a conversation",
    )


def _no_objective(path: str, what: str, instead: str) -> UserError:
    return UserError(
        f"{path} holds preferences, and the objective that learns from them does not exist yet",
        got=what,
        hint=f"To train on the good answers alone, {instead}.",
        code="no-such-objective",
    )
