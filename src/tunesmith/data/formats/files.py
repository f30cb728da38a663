"""Text and code files of a folder, each one document (``data.documents`` lists the languages).

A folder without data files is read so by itself; ``format: files`` reads any folder so, its json and txt files
included.
"""

from __future__ import annotations

from collections.abc import Sequence

from tunesmith.contracts.data import Record
from tunesmith.data.formats.base import Format, Row, has_columns, rest, text_of

COLUMNS = {
    "text": "what stands in the file",
    "path": "where it stands in its folder",
    "language": "the language of its ending",
}


def recognise(rows: Sequence[Row]) -> str | None:
    """Rows with a text, its path and its language."""
    return "every file is a document, with its path and language" if has_columns(rows, *COLUMNS) else None


def read(row: Row) -> Record:
    """One document; path and language stay beside it."""
    return Record(text=text_of(row, "text"), meta=rest(row, "text"))


SAMPLES: tuple[Row, ...] = ({"text": "print('hello')\n", "path": "tools/hello.py", "language": "python"},)
FORMAT = Format("files", "text and code files of a folder, one document each", COLUMNS, recognise, read, None, SAMPLES)
