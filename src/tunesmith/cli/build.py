"""``tunesmith data build``: rows from rows, without a model. A command a builder; options are read off its config."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from tunesmith.cli.made import options_of, show_made, tell, values_of
from tunesmith.cli.output import INTERRUPTED, emit, say, stdout
from tunesmith.errors import UserError, did_you_mean
from tunesmith.making.building import TABLE

COMMON: tuple[click.Parameter, ...] = (
    click.Argument(["files"], metavar="FILE...", nargs=-1, required=True),
    click.Option(["--out"], type=click.Path(path_type=Path), required=True, help="File to write rows to (jsonl)."),
    click.Option(["--format", "form"], default="auto", show_default=True, help="How the rows of FILE are read."),
    click.Option(["--column", "columns"], multiple=True, metavar="A=B", help="Column B is what the format calls A."),
    click.Option(["--limit"], type=click.IntRange(1), help="Most rows to build from, the first ones."),
    click.Option(["--dry-run"], is_flag=True, help="Print the first rows that would be made, and write nothing."),
    click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON object on stdout; words stay on stderr."),
)


class Builders(click.Group):
    """A command a builder, loaded when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(TABLE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of one."""
        if cmd_name not in TABLE:
            raise UserError(
                "unknown builder",
                got=f"'{cmd_name}'",
                allowed=list(TABLE),
                hint=did_you_mean(cmd_name, TABLE),
                code="unknown-builder",
            )
        builder = TABLE.load(cmd_name)
        text = " ".join((builder.__doc__ or "").split())
        return click.Command(
            cmd_name,
            params=[*COMMON, *options_of(builder)],
            callback=lambda **given: _build(cmd_name, **given),
            help=f"{text}\n\nValues are YAML: `--how near`, `--names '{{0: bad, 1: good}}'`.",
            short_help=text.partition(":")[0].rstrip("."),
        )


@click.group("build", cls=Builders)
def build() -> None:
    """Make rows from rows, without a model: instructions of labels, negatives, few-shot packs, chunks and more.

    Every row says how it was made and from which row; what was not kept is counted in a ledger beside it. A command
    that was stopped goes on when it is given again. What a model is needed for is `tunesmith make`.
    """


def _build(kind: str, files: tuple[str, ...], out: Path, **given: Any) -> int:
    as_json, dry_run = given.pop("as_json"), given.pop("dry_run")
    columns = dict(pair.partition("=")[::2] for pair in given.pop("columns"))
    form, limit = given.pop("form"), given.pop("limit")
    rows = [{"path": file, "format": form, "columns": columns} for file in files]
    from tunesmith.run.building import build as built

    try:
        found = built(kind, rows, out=out, dry_run=dry_run, sinks=(tell,), limit=limit, **values_of(given))
    except KeyboardInterrupt:
        say("\nStopped. What is written is kept; the same command goes on from there.")
        return INTERRUPTED
    if as_json:
        emit(found)
    elif dry_run:
        _show_first(found)
    else:
        show_made(found)
    return 0


def _show_first(found: Mapping[str, Any]) -> None:
    console = stdout()
    console.print(f"{found['how']}: {found['of']:,} to build from", markup=False)
    for name, value in found["settings"].items():
        console.print(f"  {name}: {value}", markup=False)
    for row in found["made"]:
        console.print(json.dumps(row, ensure_ascii=False), markup=False, soft_wrap=True)


COMMANDS = (build,)
