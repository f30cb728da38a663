"""``tunesmith data build``: rows from rows without a model, with a ledger beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunesmith.data.sources import open_source, unit_of
from tunesmith.errors import UserError
from tunesmith.events import Sink, fan_out
from tunesmith.making.author import Author
from tunesmith.making.base import Builder, Work
from tunesmith.making.building import TABLE
from tunesmith.making.inputs import Rows, parents_of
from tunesmith.making.produce import Files, begin, kept_rows, key_of, produce, summary
from tunesmith.recipe.load import validated

PREVIEWED = 3


def build(
    kind: str,
    rows: Any,
    *,
    out: str | Path,
    dry_run: bool = False,
    sinks: tuple[Sink, ...] = (),
    **options: Any,
) -> dict[str, Any]:
    """Build rows into ``out`` from ``rows`` (files, or sources as in ``data.train``); go on where the same call was
    stopped.

    ``options`` are those of the builder ``kind``, and ``limit``. Returns ``{how, rows, ledger, written, done, of,
    dropped, unreadable, measured}``; with ``dry_run`` the first rows that would be made, and nothing is written. Raises
    ``UserError``: ``unknown-builder``, ``no-data``, ``rows-exist``, and what the rows and the builder raise.
    """
    inputs = validated(Rows, {"rows": rows, "limit": options.pop("limit", None)})
    builder: Builder = validated(TABLE.load(kind), options, kind)
    parents, lost = parents_of(inputs)
    if not parents:
        raise UserError("none of the rows can be read", got=f"{lost:,} rows", code="no-data")
    work = Work(parents, _nobody, [])
    if dry_run:
        making = builder.ready(work)
        made = making.make(range(min(PREVIEWED, making.units)))
        settings = builder.model_dump(mode="json")
        first = [dict(row) for one in made for row in one.rows][:PREVIEWED]
        return {"how": kind, "of": making.units, "unreadable": lost, "made": first, "settings": settings}
    files = Files(Path(out))
    opened = [open_source(one.path, split=one.split, unit=unit_of(one.format)) for one in inputs.rows]
    content = [source.fingerprint().hex() for source in opened]
    told = inputs.model_dump(mode="json")
    key = key_of(builder, {**told, "content": content})
    ledger = begin(files, key, builder, told) if files.ledger.exists() else None
    if ledger is None or not ledger["finished"]:
        work.kept.extend([] if ledger is None else kept_rows(files))
        making = builder.ready(work)
        ledger = ledger or begin(files, key, builder, told)
        ledger = produce(making, ledger, files, kept=work.kept, units=builder.units, emit=fan_out(*sinks))
    return summary(ledger, files) | {"unreadable": lost}


def _nobody() -> Author:
    raise AssertionError("a builder asks no model")
