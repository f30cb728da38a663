"""Rows on their way through curation, and in its result: a line each, dropped rows included, so that all keep a number.

    source <tab> [notes] <tab> reason <tab> shown <tab> file <tab> line <tab> {columns} | null

Every cell is JSON, which holds no tab but an escaped one. So a row that nothing changes is copied as the bytes it is,
and what is counted or written to a file of the user's is cut out of its line without being read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from tunesmith.data.ledger import short

_GONE = b"\tnull\n"
_PLAIN = b'[]\t""\t""\t'


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

    def to_bytes(self) -> bytes:
        """The line as it is written, line end included."""
        told = [_json(one) for one in (self.notes, self.reason, self.shown, self.file)]
        cells = [str(self.source), *told, str(self.line), _json(self.value)]
        return _encoded("\t".join(cells))

    @classmethod
    def from_bytes(cls, raw: bytes) -> Line:
        """What ``to_bytes`` wrote."""
        source, notes, reason, shown, file, line, value = str(raw, "utf-8").split("\t")
        told = () if notes == "[]" else tuple(json.loads(notes))
        return cls(int(source), _text(file), int(line), json.loads(value), told, _text(reason), _text(shown))

    def dropped(self, reason: str, shown: str = "") -> Line:
        """The same row, dropped."""
        text = short(self.value) if self.value is not None else self.shown
        return replace(self, value=None, reason=reason, shown=f"{shown}: {text}" if shown else text)


_ENCODER = json.JSONEncoder(ensure_ascii=False, default=str)
_json = _ENCODER.encode


def json_line(value: Any) -> bytes:
    """``value`` as a line of JSON, line end included."""
    return _encoded(_json(value))


def _encoded(text: str) -> bytes:
    # surrogates stand for bytes that were lost: escaped, because UTF-8 cannot write them
    return text.encode(errors="backslashreplace") + b"\n"


@lru_cache(64)
def _text(cell: str) -> str:
    """The text in a cell; those of neighbouring rows are often the same."""
    text: str = json.loads(cell)
    return text


def source_of(raw: bytes) -> int:
    """The source of a line."""
    return int(raw[: raw.index(b"\t")])


def is_plain(raw: bytes) -> bool:
    """Whether a line is of a row that stays and of which there is nothing to tell."""
    return raw.startswith(_PLAIN, raw.index(b"\t") + 1) and not raw.endswith(_GONE)


def value_of(raw: bytes) -> bytes | None:
    """The columns of a row as a line of JSON; None for a row that was dropped."""
    return None if raw.endswith(_GONE) else raw[raw.rindex(b"\t") + 1 :]


def raw_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file as they are written."""
    with path.open("rb") as file:
        yield from file
