"""``tunesmith data curate``, ``data steps`` and ``data diff``: rows cleaned by hand, and what that changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tunesmith.cli.output import INTERRUPTED, emit, grid, json_option, overrides_argument, say, stdout
from tunesmith.cli.reading import column_option, format_option
from tunesmith.errors import UserError

if TYPE_CHECKING:
    from tunesmith.recipe.schema import Part, SourceConfig
    from tunesmith.run.curate import Cleaned

RECIPES = (".yaml", ".yml")


@click.command()
@click.argument("given", metavar="FILE|RECIPE")
@overrides_argument
@click.option("--out", type=click.Path(path_type=Path), help="File for the rows that are kept (jsonl).")
@click.option("--steps", metavar="YAML", help="Steps in their order: `unicode, {name: near-dedup, threshold: 0.7}`.")
@format_option
@column_option
@click.option("--workers", type=click.IntRange(1), help="Processes; by default one a core.")
@click.option("--dry-run", is_flag=True, help="Say what would be dropped and changed, and write no file.")
@json_option
def curate(given: str, overrides: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Clean the rows of FILE, or of a RECIPE's training sources, and write those that are kept.

    Without --steps: those of the recipe, and for a file unicode, roles, quality, conflicts, exact-dedup and near-dedup.
    The ledger beside the file says of every row what became of it. What was stopped goes on when the command is given
    again.
    """
    out, dry_run = options["out"], options["dry_run"]
    if (out is None) == (not dry_run):
        raise UserError(
            "say where the rows are to be written, or that nothing is to be",
            allowed="--out FILE or --dry-run",
            code="bad-arguments",
        )
    reading = {"format": options["form"], "columns": options["columns"]}
    sources, steps = _asked(given, overrides, reading, options["steps"])
    from tunesmith.run.curate import clean

    try:
        found = clean(sources, steps, out=out, workers=options["workers"], sinks=(_tell,))
    except KeyboardInterrupt:
        say("\nStopped. What is done is kept; the same command goes on from there.")
        return INTERRUPTED
    if as_json:
        emit(found.to_json())
    else:
        _show(found)
    return 0


def _asked(
    given: str, overrides: tuple[str, ...], reading: dict[str, Any], steps: str | None
) -> tuple[list[SourceConfig], list[Part]]:
    """Sources and steps of the arguments."""
    from tunesmith.recipe.schema import SourceConfig
    from tunesmith.run.curate import USUAL

    if Path(given).suffix.lower() in RECIPES or (Path(given) / "recipe.yaml").is_file():
        from tunesmith.recipe import Recipe

        recipe = Recipe.load(given, list(overrides))
        return list(recipe.data.train), _steps(steps) if steps is not None else list(recipe.curate)
    if overrides:
        raise UserError(
            "overrides change a recipe", got=" ".join(overrides), hint="FILE has none.", code="bad-override"
        )
    return [SourceConfig(path=given, **reading)], _steps(steps) if steps is not None else list(USUAL)


def _steps(text: str) -> list[Part]:
    from tunesmith.recipe import Recipe
    from tunesmith.recipe.load import rebased, validated
    from tunesmith.recipe.yaml12 import read_yaml

    value = read_yaml(text if text.lstrip().startswith("[") else f"[{text}]", "--steps")
    return list(validated(Recipe, rebased({"curate": value}, Path.cwd())).curate)


def _tell(event: Any) -> None:
    text = event.values.get("text")
    if text is not None:
        say(str(text))


def _show(found: Cleaned) -> None:
    console = stdout()
    console.print(grid(("step", "rows dropped"), [(name, f"{count:,}") for name, count in found.steps.items()]))
    click.echo("\n".join(found.ledger.summary_lines()))
    if found.out is None:
        say("\nNothing was written (--dry-run).")
    else:
        say(f"\n{found.ledger.total('kept'):,} rows in {found.out}; the ledger: {found.ledger_file}")
        say(f"Next: tunesmith init {found.out}")


@click.command()
@click.argument("name", required=False)
@json_option
def steps(name: str | None, as_json: bool) -> None:
    """List the steps of curation, or show one with its options."""
    from tunesmith.cli.parts import show_steps

    show_steps(name, as_json)


@click.command("diff")
@click.argument("old")
@click.argument("new")
@json_option
def compare(old: str, new: str, as_json: bool) -> None:
    """Say which rows of the file OLD are the same, changed or gone in the file NEW, and which are new."""
    from tunesmith.data.diff import diff

    found = diff(old, new).to_json()
    if as_json:
        emit(found)
        return
    kinds = ("same", "changed", "removed", "added")
    stdout().print(grid(("rows", "count"), [(kind, f"{found[kind]:,}") for kind in kinds]))
    for kind, shown in found["examples"].items():
        for one in shown:
            click.echo(f"{kind}: {_line(one)}")


def _line(one: Mapping[str, Any]) -> str:
    if "old" in one:
        return f"{_line(one['old'])}\n      -> {_line(one['new'])}"
    return f"line {one['line']}: {one['text']}"


COMMANDS = (curate, steps, compare)
