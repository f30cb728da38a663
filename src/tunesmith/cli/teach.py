"""``tunesmith teach``: rows with what a teacher says of their answers, for distillation without it."""

from __future__ import annotations

from pathlib import Path

import click

from tunesmith.cli.output import emit, json_option, pairs, stdout


@click.command()
@click.argument("teacher", metavar="RUN_OR_MODEL")
@click.argument("rows", metavar="FILE")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="File of rows to write (jsonl).")
@click.option("--top", default=20, show_default=True, type=click.IntRange(1), help="Tokens stored at each target.")
@click.option("--format", "form", default="auto", show_default=True, help="The format of the rows.")
@json_option
def teach(teacher: str, rows: str, out: Path, top: int, form: str, as_json: bool) -> None:
    """Store the most likely tokens of RUN_OR_MODEL at every trained token of FILE's rows.

    The objective distill learns from the file it writes, without the teacher.
    """
    from tunesmith.recipe.schema import SourceConfig
    from tunesmith.run.teaching import teach as store

    result = store(teacher, SourceConfig(path=rows, format=form), out, top=top)
    if as_json:
        emit(result)
    else:
        stdout().print(pairs(result))
