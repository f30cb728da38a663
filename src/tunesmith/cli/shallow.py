"""``tunesmith shallow``: a student for distillation, made of some of its teacher's blocks."""

from __future__ import annotations

from pathlib import Path

import click

from tunesmith.cli.output import emit, json_option, pairs, stdout


@click.command()
@click.argument("base", metavar="MODEL")
@click.option("--layers", required=True, type=int, help="How many blocks to keep.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@json_option
def shallow(base: str, layers: int, out: Path, as_json: bool) -> None:
    """Write MODEL with fewer blocks, taken evenly over its depth: a student to distil a larger model into."""
    from tunesmith.models.shallow import write_shallow

    result = {"out": str(out), "kept_blocks": write_shallow(base, layers, out)}
    if as_json:
        emit(result)
    else:
        stdout().print(pairs(result))
