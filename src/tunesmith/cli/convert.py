"""``tunesmith data convert``: rows of one format as rows of another, where nothing is lost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from tunesmith.cli.output import emit, json_option, say
from tunesmith.cli.reading import column_option, format_option


@click.command()
@click.argument("file")
@click.option("--to", required=True, metavar="FORMAT", help="The format to write (`tunesmith formats`).")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="File to write (jsonl).")
@click.option("--drop", is_flag=True, help="Leave out rows that would lose something, instead of refusing all.")
@format_option
@column_option
@click.option("--split", help="Split of a hub data set, or of a json file that holds several.")
@json_option
def convert(
    file: str,
    to: str,
    out: Path,
    drop: bool,
    form: str,
    columns: Mapping[str, str],
    split: str | None,
    as_json: bool,
) -> None:
    """Write the rows of FILE in another format: each must be read back as the very row it was, or it is refused.

    `tunesmith formats` shows what converts to what. Labels become instructions by `tunesmith data build instructions`.
    """
    from tunesmith.data.convert_files import convert_file
    from tunesmith.recipe.schema import SourceConfig

    source = SourceConfig(path=file, format=form, columns=dict(columns), split=split)
    found = convert_file(source, to, out=out, drop=drop)
    if as_json:
        emit(found.to_json())
        return
    click.echo("\n".join(found.ledger.summary_lines()))
    say(f"\n{found.ledger.total('kept'):,} rows of format {to} in {out}; the ledger: {found.ledger_file}")
    if found.named:
        say(f"`auto` takes them for '{found.named}', by their other columns: write `format: {to}` beside the path.")


COMMANDS = (convert,)
