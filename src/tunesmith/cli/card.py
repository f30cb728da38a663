"""``tunesmith export``: what others need of a run, in the forms they know."""

from __future__ import annotations

from pathlib import Path

import click

from tunesmith.cli.output import emit, json_option


@click.group()
def export() -> None:
    """Write what others need of a run."""


@export.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="By default MODEL_CARD.md in the run.")
@json_option
def card(run: Path, out: Path | None, as_json: bool) -> None:
    """Write the model card of RUN: what it is, how good, what it forgot, what it was trained on and how."""
    from tunesmith.run.reporting import write_card

    path = write_card(run, out=out)
    if as_json:
        emit({"card": str(path), "run": str(run)})
    else:
        click.echo(path)
