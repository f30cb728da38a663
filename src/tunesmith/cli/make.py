"""``tunesmith make``: rows made by a model. A command a maker; its options are read off the maker's config."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from tunesmith.cli.made import OfTable, options_of, run_made, show_settings, tell, values_of
from tunesmith.cli.output import stdout
from tunesmith.making import TABLE
from tunesmith.making.inputs import Inputs

COMMON: tuple[click.Parameter, ...] = (
    click.Argument(["model"], metavar="MODEL"),
    click.Option(["--out"], type=click.Path(path_type=Path), required=True, help="File to write rows to (jsonl)."),
    click.Option(["--dry-run"], is_flag=True, help="Say what would be asked, and ask nothing."),
    click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON object on stdout; words stay on stderr."),
)
VALUES = "Values are YAML: `--rewards numeric`, `--rewards '[numeric, {name: length, at_most: 200}]'`."
PAIRS = click.Option(["--pairs"], type=click.Path(path_type=Path), help="File for pairs of answers (jsonl).")


def command_of(kind: str) -> click.Command:
    """The command of a maker: its docstring, its options and those of all."""
    maker = TABLE.load(kind)
    own = [*options_of(Inputs), *options_of(maker)]
    text = " ".join((maker.__doc__ or "").split())
    return click.Command(
        kind,
        params=[*COMMON, *([PAIRS] if maker.makes_pairs else []), *own],
        callback=lambda **given: _make(kind, **given),
        help=f"{text}\n\n{VALUES}",
        short_help=text.partition(";")[0],
    )


@click.group("make", cls=OfTable, table=TABLE, command_of=command_of)
def make() -> None:
    """Let a model make rows to train on. MODEL is a run folder, a model folder, `embedded` or a hub id.

    Every row says how it was made and from which row; what was not kept is counted in a ledger beside it. A command
    that was stopped goes on when it is given again.
    """


def _make(kind: str, model: str, out: Path, **given: Any) -> int:
    as_json, dry_run, pairs = given.pop("as_json"), given.pop("dry_run"), given.pop("pairs", None)
    from tunesmith import run

    call = partial(run.make, kind, model, out=out, pairs=pairs, dry_run=dry_run, sinks=(tell,), **values_of(given))
    return run_made(call, _show_plan, dry_run=dry_run, as_json=as_json)


def _show_plan(found: Mapping[str, Any]) -> None:
    show_settings(found, "to do")
    for number, text in enumerate(found["first"], start=1):
        stdout().print(f"\n--- asked {number} ---\n{text}", markup=False)
