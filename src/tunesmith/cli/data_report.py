"""``tunesmith data report``: the ledger of a recipe, and one HTML page with pictures of rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from tunesmith.cli.output import emit, json_option, overrides_argument, say
from tunesmith.cli.reading import column_option, format_option
from tunesmith.errors import UserError

RECIPES = (".yaml", ".yml")


@click.command()
@click.argument("given", metavar="FILE|RECIPE|RUN")
@overrides_argument
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write one HTML page with pictures here.")
@click.option("--against", metavar="FILE", help="Evaluation rows, to look for them among the rows of FILE.")
@format_option
@column_option
@json_option
def report(given: str, overrides: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Say what became of every row of a RECIPE or a RUN, and why; with --out draw how the rows look.

    The page shows lengths, languages, the balance of labels, duplicates side by side, the training rows nearest to each
    evaluation row, and why rows were dropped; of a recipe also tokens, and how many of them are learned.
    """
    if Path(given).suffix.lower() in RECIPES or (Path(given) / "recipe.yaml").is_file():
        _of_recipe(given, overrides, options, as_json=as_json)
        return
    if overrides:
        raise UserError(
            "overrides change a recipe", got=" ".join(overrides), hint="FILE has none.", code="bad-override"
        )
    if options["out"] is None:
        raise UserError(
            "the ledger is of a recipe; rows of a file are drawn",
            got=given,
            hint=f"tunesmith data report {given} --out rows.html",
            code="bad-arguments",
        )
    from tunesmith.recipe.schema import SourceConfig
    from tunesmith.run.data_report import report_file

    source = SourceConfig(path=given, format=options["form"], columns=options["columns"])
    against = SourceConfig(path=options["against"]) if options["against"] else None
    _tell(report_file(source, evaluation=against, out=options["out"]), {}, as_json=as_json)


def _of_recipe(given: str, overrides: tuple[str, ...], options: Mapping[str, Any], *, as_json: bool) -> None:
    from tunesmith.cli.prepared import prepared_rows, refusal, warn

    if options["against"] is not None:
        raise UserError("a recipe says itself what it is evaluated on", got="--against", code="bad-arguments")
    _, prepared = prepared_rows(given, overrides)
    facts = {**prepared.ledger.to_json(), "refusal": refusal(prepared)}
    if options["out"] is not None:
        from tunesmith.run.data_report import report_prepared

        _tell(report_prepared(given, prepared, out=options["out"]), facts, as_json=as_json)
    elif as_json:
        emit(facts)
    else:
        click.echo("\n".join(prepared.ledger.summary_lines()))
    warn(prepared)


def _tell(found: Any, facts: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit({"page": str(found.page), "facts": str(found.facts), "ledger": str(found.ledger), **facts})
        return
    click.echo(str(found.page))
    say(f"Its numbers: {found.facts}, {found.ledger}")


COMMANDS = (report,)
