"""``tunesmith merge``: the tuned model as a plain transformers folder."""

from __future__ import annotations

from pathlib import Path

import click

from tunesmith.cli.output import emit, json_option, pairs, stdout


@click.command()
@click.argument("run_folder", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@json_option
def merge(run_folder: Path, out: Path, as_json: bool) -> None:
    """Merge the adapter of RUN into its base model, and prove that both give equal logits."""
    from tunesmith import run

    result = run.merge(run_folder, out)
    if as_json:
        emit(result)
    else:
        stdout().print(pairs(result))
