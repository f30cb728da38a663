"""``tunesmith compare``: how runs differ, with intervals."""

from __future__ import annotations

from pathlib import Path

import click

from tunesmith.cli.output import emit, grid, interval, json_option, stdout


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN RUN...")
@json_option
def compare(runs: tuple[Path, ...], as_json: bool) -> None:
    """Compare each further RUN with the first one."""
    from tunesmith import run

    result = run.compare(list(runs))
    if as_json:
        emit(result)
        return
    rows = [
        (name, metric, interval(difference))
        for name, metrics in result["differences"].items()
        for metric, difference in metrics.items()
    ]
    stdout().print(grid(("run", "metric", f"difference to {result['first']}"), rows))
