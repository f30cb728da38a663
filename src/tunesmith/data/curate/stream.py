"""Rows of sources as lines, and lines as steps see them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith.data.curate.base import Item
from tunesmith.data.curate.texts import text_columns
from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.base import Format
from tunesmith.data.lines import Line
from tunesmith.data.recognise import rename
from tunesmith.data.sources import Broken, Source


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
