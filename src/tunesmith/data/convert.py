"""Rows of one format as rows of another, where nothing is lost.

    row -> read (source format) -> record -> write (target format) -> row -> read (target format) -> the same record

A row is converted when the target format reads back the very record that the source format read, its further columns
included. So no rule says what converts to what: formats are tried, and the table of ``targets`` is what their sample
rows do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

from tunesmith.contracts.data import Message, Record
from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.base import BadRow, Format
from tunesmith.data.formats.writing import WORDS

DERIVED = ("instruction", "input")


@dataclass(frozen=True)
class Target:
    """A format that rows convert to: ``whole`` where all sample rows do; else ``why`` not all."""

    name: str
    whole: bool
    why: str = ""


def converted(record: Record, form: Format) -> dict[str, Any]:
    """The row of the format ``form`` that is read as ``record``; ``BadRow`` says what would be lost."""
    if form.write is None:
        raise BadRow(f"'{form.name}' is read from files as they are, and rows are written as 'text'")
    row = form.write(record)
    for name in record.meta:
        if name in row:
            raise BadRow(f"the row has a column '{name}' already, which means something else in '{form.name}'")
    whole = {**row, **record.meta}
    try:
        back = form.read(whole)
    except BadRow as bad:
        raise BadRow(f"'{form.name}' could not read it back: {bad}") from None
    _check_same(_plain(record), _plain(back), form.name)
    return whole


def takers(record: Record) -> list[str]:
    """The formats that ``record`` can be a row of."""
    return [name for name in FORMATS.all if not list(_troubles([record], FORMATS.load(name)))]


def targets(name: str) -> list[Target]:
    """The formats that the sample rows of format ``name`` convert to, some or all of them, as far as is known."""
    return list(_targets(name))


@cache
def _targets(name: str) -> tuple[Target, ...]:
    form: Format = FORMATS.load(name)
    records = [form.read(row) for row in form.samples]
    found = []
    for other in FORMATS.all:
        troubles = list(_troubles(records, FORMATS.load(other)))
        if other != name and records and len(troubles) < len(records):
            found.append(Target(other, not troubles, troubles[0] if troubles else ""))
    return tuple(found)


def _troubles(records: list[Record], form: Format) -> Iterator[str]:
    for record in records:
        try:
            converted(record, form)
        except BadRow as bad:
            yield str(bad)


def _check_same(before: Record, after: Record, name: str) -> None:
    for one in fields(before):
        if getattr(before, one.name) != getattr(after, one.name):
            raise BadRow(_lost(one.name, getattr(before, one.name), getattr(after, one.name), name))


def _lost(part: str, before: Any, after: Any, name: str) -> str:
    """What a format would change, in words."""
    if part == "meta":
        column = next(iter({*before} ^ {*after}), "") or next(key for key in before if before[key] != after[key])
        return f"the column '{column}' means something else in '{name}'"
    if part == "messages" and before and after and len(before) == len(after):
        turns = next((old, new) for old, new in zip(before, after, strict=True) if old != new)
        keys = sorted({*turns[0].extra} ^ {*turns[1].extra})
        if keys:
            return f"'{name}' has no place for '{keys[0]}' of a turn"
    return f"'{name}' would change {WORDS.get(part, part)}"


def _plain(record: Record) -> Record:
    """``record`` without its place, and without parts of a turn that repeat its content."""
    turns = None if record.messages is None else tuple(map(_turn, record.messages))
    candidates = tuple(replace(one, messages=tuple(map(_turn, one.messages))) for one in record.candidates)
    return replace(record, messages=turns, candidates=candidates, source=0, line=0)


def _turn(message: Message) -> Message:
    extra: Mapping[str, Any] = message.extra
    if extra.get("instruction") == message.content and not str(extra.get("input", "")).strip():
        extra = {key: value for key, value in extra.items() if key not in DERIVED}
    return replace(message, extra=dict(extra))
