"""``tunesmith data split``: training, validation and test rows in files of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tunesmith.cli.output import emit, grid, json_option, say, stdout
from tunesmith.cli.reading import column_option, format_option
from tunesmith.errors import UserError

if TYPE_CHECKING:
    from tunesmith.data.split_files import SplitFiles


@click.command()
@click.argument("file")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write, which must not be there.")
@click.option(
    "--shares", default="90/10", show_default=True, help="Shares of training/validation, or training/validation/test."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Another seed is another split.")
@click.option("--near", default="0.8", show_default=True, help="How alike rows are that stay together; `off` for none.")
@click.option(
    "--by",
    default="prompt",
    show_default=True,
    type=click.Choice(["prompt", "row", "answer"]),
    help="What of rows is compared.",
)
@click.option("--group", metavar="COLUMN", help="Rows of one value of COLUMN stay on one side.")
@click.option("--stratify", metavar="COLUMN", help="`label` or a column: sides get their share of each of its values.")
@click.option("--time", metavar="COLUMN", help="The latest rows by COLUMN are validation (and test).")
@click.option("--since", metavar="TIME", help="With --time: validation begins here, whatever its share.")
@click.option("--keep", metavar="FOLDER", help="An earlier split: its rows stay on their side.")
@format_option
@column_option
@json_option
def split(file: str, as_json: bool, **given: Any) -> None:
    """Part the rows of FILE so that nothing leaks: what asks the same or nearly the same stays on one side.

    A row's side follows from its content: rows that are added move no others. The same split in a recipe is
    `data.split`.
    """
    from tunesmith.data.split_files import split_file
    from tunesmith.recipe.load import validated
    from tunesmith.recipe.schema import SourceConfig, SplitConfig

    names = ("by", "group", "stratify", "time", "since", "keep")
    options = {name: given[name] for name in names} | {"near": _near(given["near"])}
    source = SourceConfig(path=file, format=given["form"], columns=given["columns"])
    config: SplitConfig = validated(SplitConfig, options, "split")
    found = split_file(source, config, shares=_shares(given["shares"]), seed=given["seed"], out=given["out"])
    if as_json:
        emit(found.to_json())
    else:
        _show(found)


def _near(text: str) -> float | None:
    if text == "off":
        return None
    try:
        return float(text)
    except ValueError:
        raise UserError("--near is a number", got=text, allowed="0.3 to 1, or off", code="bad-arguments") from None


def _shares(text: str) -> list[float]:
    try:
        parts = [float(part) for part in text.split("/")]
    except ValueError:
        parts = []
    if len(parts) not in (2, 3) or min(parts) < 0 or parts[0] == 0 or sum(parts[1:]) == 0:
        raise UserError("--shares cannot be read", got=text, allowed="such as 90/10 or 80/10/10", code="bad-arguments")
    return [part / sum(parts) for part in parts]


def _show(found: SplitFiles) -> None:
    counts = list(found.counts.items())
    rows = [(side, f"{count:,}", str(found.out / f"{side}.jsonl")) for side, count in counts]
    stdout().print(grid(("side", "rows", "file"), rows))
    strata = found.to_json()["strata"]
    if strata:
        cells = [(name, *(f"{one.get(side, 0):,}" for side, _ in counts)) for name, one in strata.items()]
        stdout().print(grid(("value", *found.counts), cells))
    click.echo("\n".join(found.ledger.summary_lines()))
    for note in found.notes:
        click.echo(f"note: {note}")
    say(f"\nThe ledger: {found.out / 'split.json'}")
    if "test" in found.counts:
        say("The test rows are for `tunesmith eval`, and for nothing before it.")
    say(f"Next: tunesmith init {found.out / 'train.jsonl'}, with data.validation: [{found.out / 'validation.jsonl'}]")


COMMANDS = (split,)
