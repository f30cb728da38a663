"""``tunesmith data convert``: a file of rows in another format, whole or not at all, with a ledger beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.data.convert import converted, takers
from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.base import BadRow, Format
from tunesmith.data.ledger import Entry, Example, Ledger, SourceCount, short, top_reasons
from tunesmith.data.lines import json_line
from tunesmith.data.look import SAMPLE, recognised
from tunesmith.data.recognise import recognise, rename
from tunesmith.data.sources import Broken, Row, open_source, unit_of
from tunesmith.errors import UserError
from tunesmith.files import disk_errors, sync_file, write_json
from tunesmith.recipe.schema import SourceConfig


@dataclass(frozen=True)
class Converted:
    """What was written: rows of the format ``to`` in ``out``; ``named`` where `auto` would take them for another."""

    out: Path
    source: str
    to: str
    ledger: Ledger
    ledger_file: Path
    named: str = ""

    def to_json(self) -> dict[str, Any]:
        """The same as JSON holds it."""
        told = {key: self.ledger.to_json()[key] for key in ("rows", "kept", "dropped", "reasons", "examples")}
        files = {"out": str(self.out), "ledger": str(self.ledger_file)}
        return {"from": self.source, "to": self.to, **told, **files, "recognised_as": self.named or self.to}


def convert_file(source: SourceConfig, to: str, *, out: Path, drop: bool = False) -> Converted:
    """Write the rows of ``source`` as format ``to`` into the jsonl file ``out``.

    Rows that would lose something are refused, and then nothing is written; ``drop`` leaves them out instead. Raises
    ``UserError``: ``cannot-convert``, ``own-input``, ``unknown-format``, and what reading raises.
    """
    form: Format = FORMATS.load(to)
    if out.expanduser().resolve() == Path(source.path).expanduser().resolve():
        raise UserError("the rows would replace those they are made of", got=str(out), code="own-input")
    opened = open_source(source.path, split=source.split, unit=unit_of(source.format), forgiving=drop)
    found = recognised(source, opened)
    if form.write is None:
        hint = "Rows are written as 'text'."
        raise UserError(f"'{to}' is read from files as they are", hint=hint, code="cannot-convert")
    ledger = Ledger([SourceCount(source.path, found.format.name, found.reason)])
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    sample: list[Mapping[str, Any]] = []
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                for row in _rows(opened.rows(), source, found.format, form, ledger):
                    sample += [row] if len(sample) < SAMPLE else []
                    file.write(json_line(row))
            if not ledger.total("kept") or (ledger.total("dropped") and not drop):
                raise _refused(ledger, to, _takers(opened.rows(), source, found.format, form))
            sync_file(temporary)
            temporary.replace(out)
        finally:
            temporary.unlink(missing_ok=True)
    beside = out.with_suffix(".ledger.json")
    write_json(beside, {"from": source.model_dump(), "to": to, **ledger.to_json()})
    taken = recognise(sample, path=str(out), columns={}).format.name
    return Converted(out, found.format.name, to, ledger, beside, "" if taken == to else taken)


def _rows(
    rows: Iterator[Row], source: SourceConfig, reading: Format, form: Format, ledger: Ledger
) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(rows):
        try:
            if isinstance(row.value, Broken):
                raise BadRow(row.value.reason)  # noqa: TRY301 - what is wrong with a row goes to the ledger, here
            made = converted(reading.read(rename(row.value, source.columns)), form)
        except BadRow as bad:
            text = row.value.text if isinstance(row.value, Broken) else short(row.value)
            ledger.add(Entry(number, 0, row.line, "dropped", str(bad)), Example(row.file, row.line, text))
        else:
            ledger.sources[0].count("kept")
            yield made


TALK = ("messages", "sharegpt", "alpaca", "prompt-completion")
BUILT = {
    **{(one, other): "instructions" for one in ("labelled", "tagged", "spans", "squad") for other in TALK},
    **{(one, "unpaired"): "marks" for one in ("preference", "ranked")},
    **{(one, "preference"): "pairs" for one in ("unpaired", "ranked")},
    **{(one, "preference"): "negatives" for one in TALK},
    ("labelled", "embedding"): "negatives --how wrong-label",
}
"""What rows become by building, where they cannot be converted: (from, to) -> the builder."""


def _takers(rows: Iterator[Row], source: SourceConfig, reading: Format, form: Format) -> list[str]:
    """The formats that take the first of ``rows`` that ``form`` refuses; none where it is no row of its own format."""
    for row in rows:
        if isinstance(row.value, Broken):
            continue
        try:
            record = reading.read(rename(row.value, source.columns))
        except BadRow:
            continue
        found = takers(record)
        if form.name not in found:
            return [name for name in found if name != reading.name]
    return []


def _refused(ledger: Ledger, to: str, others: list[str]) -> UserError:
    builder = BUILT.get((ledger.sources[0].format, to))
    building = f" `tunesmith data build {builder}` makes such rows of them." if builder else ""
    first = next(iter(ledger.examples.values()))[0]
    instead = f" The first of them can become {', '.join(others)}." if others else ""
    dropping = " `--drop` leaves these rows out." if ledger.total("kept") else ""
    return UserError(
        f"{ledger.total('dropped'):,} of {ledger.rows:,} rows cannot become '{to}' without loss",
        got=top_reasons(ledger),
        hint=f"For example {first.file} line {first.line}: {first.text}.{building}{dropping}{instead}",
        code="cannot-convert",
    )
