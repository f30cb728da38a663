"""Rows between steps: one JSON line each, what is dropped included, so that every row keeps its number.

[source, file, line, {columns} | null, [notes], reason, shown]
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunesmith.data.curate.base import Item
from tunesmith.data.curate.texts import text_columns
from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.base import Format
from tunesmith.data.ledger import short
from tunesmith.data.recognise import rename
from tunesmith.data.sources import Broken, Source


@dataclass(frozen=True)
class Line:
    """A row, or why it is one no longer (``value`` None); ``notes`` say what was changed."""

    source: int
    file: str
    line: int
    value: dict[str, Any] | None
    notes: tuple[str, ...] = ()
    reason: str = ""
    shown: str = ""

    def to_json(self) -> bytes:
        """The line as it is written, line end included."""
        fields = [self.source, self.file, self.line, self.value, self.notes, self.reason, self.shown]
        # surrogates stand for bytes that were lost: escaped, because UTF-8 cannot write them
        return _ENCODER.encode(fields).encode(errors="backslashreplace") + b"\n"

    @classmethod
    def from_json(cls, text: bytes) -> Line:
        """What ``to_json`` wrote."""
        source, file, line, value, notes, reason, shown = json.loads(text)
        return cls(source, file, line, value, tuple(notes), reason, shown)

    def dropped(self, reason: str, shown: str = "") -> Line:
        """The same row, dropped."""
        text = short(self.value) if self.value is not None else self.shown
        return replace(self, value=None, reason=reason, shown=f"{shown}: {text}" if shown else text)


_ENCODER = json.JSONEncoder(ensure_ascii=False, default=str, separators=(",", ":"))


@dataclass(frozen=True)
class Reading:
    """How the rows of one source are read."""

    path: str
    format: str
    why: str
    columns: dict[str, str]

    @property
    def form(self) -> Format:
        """The format."""
        form: Format = FORMATS.load(self.format)
        return form


class Items:
    """Lines as steps see them."""

    def __init__(self, readings: Sequence[Reading]) -> None:
        self._forms = [reading.form for reading in readings]
        self._renamed = [reading.columns for reading in readings]
        self._columns = [text_columns(one.form, one.columns) for one in readings]

    def of(self, number: int, line: Line) -> Item:
        """The item of a line with a row; ``BadRow`` where its format cannot read it."""
        assert line.value is not None
        return self.read(number, line.source, line.value)

    def read(self, number: int, source: int, value: Mapping[str, Any]) -> Item:
        """The item of the columns of a row; ``BadRow`` where its format cannot read it."""
        record = self._forms[source].read(rename(value, self._renamed[source]))
        return Item(number, source, value, record, self._columns[source])


def lines_of(sources: Iterable[Source]) -> Iterator[Line]:
    """Every row of the sources; what is none is dropped at once."""
    for number, source in enumerate(sources):
        for row in source.rows():
            if isinstance(row.value, Broken):
                yield Line(number, row.file, row.line, None, row.notes, row.value.reason, row.value.text)
            else:
                yield Line(number, row.file, row.line, row.value, row.notes)


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of a file of rows."""
    return map(Line.from_json, raw_lines(path))


def raw_lines(path: Path) -> Iterator[bytes]:
    """The same as they are written."""
    with path.open("rb") as file:
        yield from file
