"""Plain text: one document a row.

In a txt file a document ends at a line ``<|endoftext|>``; a file without such lines is one document. ``paragraphs``
(split at blank lines) and ``lines`` read txt files in smaller rows; the sources do the splitting.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tunesmith.contracts.data import Record
from tunesmith.data.formats.base import Format, Row, has_columns, rest, text_of
from tunesmith.data.formats.writing import holds

COLUMNS = {"text": "the document"}


def recognise(rows: Sequence[Row]) -> str | None:
    """Rows with a text."""
    return "the rows have the column 'text'" if has_columns(rows, "text") else None


def read(row: Row) -> Record:
    """One document."""
    return Record(text=text_of(row, "text"), meta=rest(row, "text"))


def write(record: Record) -> dict[str, Any]:
    """The document."""
    holds(record, "text")
    return {"text": record.text}


def _never(_rows: Sequence[Row]) -> str | None:
    return None


SAMPLES: tuple[Row, ...] = ({"text": "Pears grow on trees.\nSo do apples."},)
FORMAT = Format(
    "text", "plain text; a txt file splits at lines <|endoftext|>", COLUMNS, recognise, read, write, SAMPLES
)
PARAGRAPHS = Format(
    "paragraphs", "a txt file, one row a paragraph (blank lines between)", COLUMNS, _never, read, None, SAMPLES
)
LINES = Format("lines", "a txt file, one row a line", COLUMNS, _never, read, None, SAMPLES)
