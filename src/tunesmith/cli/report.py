"""``tunesmith report``: one HTML file that says everything about a run, or about several beside each other."""

from __future__ import annotations

from pathlib import Path

import click

from tunesmith.cli.output import emit, json_option, say


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN [RUN...]")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="By default report.html in the run.")
@click.option("--open", "look", is_flag=True, help="Show it in the browser.")
@json_option
def report(runs: tuple[Path, ...], out: Path | None, look: bool, as_json: bool) -> None:
    """Write what is known of RUN as one HTML file that needs nothing else: for reading, mailing, printing.

    Of several runs the file has them side by side; the others are compared with the first, and it is written where you
    are.
    """
    from tunesmith.run.reporting import write_report

    path = write_report(runs, out=out)
    if as_json:
        emit({"report": str(path), "runs": [str(run) for run in runs]})
    else:
        click.echo(path)
    if look and not click.launch(str(path)):
        say("warning: no browser could be opened")
