"""``tunesmith data build``: rows from rows, without a model. A command a builder; options are read off its config."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from tunesmith.cli.made import OfTable, options_of, run_made, show_settings, tell, values_of
from tunesmith.cli.output import stdout
from tunesmith.cli.reading import COLUMN, FORMAT
from tunesmith.making.building import TABLE

COMMON: tuple[click.Parameter, ...] = (
    click.Argument(["files"], metavar="FILE...", nargs=-1, required=True),
    click.Option(["--out"], type=click.Path(path_type=Path), required=True, help="File to write rows to (jsonl)."),
    click.Option(["--format", "form"], **FORMAT),
    click.Option(["--column", "columns"], **COLUMN),
    click.Option(["--limit"], type=click.IntRange(1), help="Most rows to build from, the first ones."),
    click.Option(["--dry-run"], is_flag=True, help="Print the first rows that would be made, and write nothing."),
    click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON object on stdout; words stay on stderr."),
)


def command_of(kind: str) -> click.Command:
    """The command of a builder: its docstring, its options and those of all."""
    builder = TABLE.load(kind)
    text = " ".join((builder.__doc__ or "").split())
    return click.Command(
        kind,
        params=[*COMMON, *options_of(builder)],
        callback=lambda **given: _build(kind, **given),
        help=f"{text}\n\nValues are YAML: `--how near`, `--names '{{0: bad, 1: good}}'`.",
        short_help=text.partition(":")[0].rstrip("."),
    )


@click.group("build", cls=OfTable, table=TABLE, command_of=command_of)
def build() -> None:
    """Make rows from rows, without a model: instructions of labels, negatives, few-shot packs, chunks and more.

    Every row says how it was made and from which row; what was not kept is counted in a ledger beside it. A command
    that was stopped goes on when it is given again. What a model is needed for is `tunesmith make`.
    """


def _build(kind: str, files: tuple[str, ...], out: Path, **given: Any) -> int:
    as_json, dry_run = given.pop("as_json"), given.pop("dry_run")
    reading, limit = {"format": given.pop("form"), "columns": given.pop("columns")}, given.pop("limit")
    rows = [{"path": file, **reading} for file in files]
    from tunesmith.run.building import build as built

    call = partial(built, kind, rows, out=out, dry_run=dry_run, sinks=(tell,), limit=limit, **values_of(given))
    return run_made(call, _show_first, dry_run=dry_run, as_json=as_json)


def _show_first(found: Mapping[str, Any]) -> None:
    show_settings(found, "to build from")
    for row in found["made"]:
        stdout().print(json.dumps(row, ensure_ascii=False), markup=False, soft_wrap=True)


COMMANDS = (build,)
