"""``tunesmith init``: a commented recipe for a data file, after a look at it."""

from __future__ import annotations

from pathlib import Path

import click

from tunesmith.cli.output import emit, json_option, say


@click.command()
@click.argument("data", metavar="DATA")
@click.option("--out", default="recipe.yaml", show_default=True, type=click.Path(path_type=Path), help="File to write.")
@click.option("--model", default="embedded", show_default=True, help="Base model: a folder, a hub id, or `embedded`.")
@click.option(
    "--column", "columns", multiple=True, metavar="NAME=COLUMN", help="What a format calls NAME is in COLUMN."
)
@click.option("--split", help="The split to train on, where DATA (a json file or a hub data set) holds several.")
@json_option
def init(data: str, out: Path, model: str, columns: tuple[str, ...], split: str | None, as_json: bool) -> None:
    """Look at DATA (jsonl, json, csv, tsv, parquet, txt, a folder of them, or a hub id) and write a recipe for it."""
    from tunesmith.cli.starter import starter, write_new

    found = starter(data, out, model, dict(map(_pair, columns)), split)
    write_new(out, found.text)
    following = [f"tunesmith data show {out}", f"tunesmith check {out}", f"tunesmith train {out}"]
    if as_json:
        emit(
            {
                "recipe": str(out),
                "format": found.format,
                "reason": found.reason,
                "rows": found.rows,
                "objective": found.objective,
                "note": found.note,
                "next": following,
            }
        )
        return
    rows = f"{found.rows:,} rows" if found.rows is not None else "more than 10,000 rows"
    say(f"{data}: {rows}, format {found.format} ({found.reason}).")
    if found.note:
        say(found.note)
    click.echo(str(out))
    say("\nNext:\n  " + "\n  ".join(following))


def _pair(text: str) -> tuple[str, str]:
    name, equals, column = text.partition("=")
    if not equals:
        raise click.UsageError(f"--column {text} is not of the form NAME=COLUMN, such as prompt=question")
    return name, column
