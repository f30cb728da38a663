"""``tunesmith compare``: how runs differ, with intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from tunesmith.cli.output import emit, grid, interval, json_option, stdout

OTHER_ROWS = "not the same rows: no paired difference"


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
    columns = ("metric", "run", "value (95% interval)", f"difference to {result['first']}")
    stdout().print(grid(columns, list(_rows(result))))


def _rows(result: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A line for each run that has the metric, metric by metric."""
    runs, first = result["runs"], result["first"]
    metrics = list(dict.fromkeys(metric for values in runs.values() for metric in values))
    for metric in metrics:
        for number, (name, values) in enumerate((name, values) for name, values in runs.items() if metric in values):
            change = _difference(result["differences"].get(name, {}), metric, measured=metric in runs[first])
            yield metric if number == 0 else "", name, interval(values[metric]), change


def _difference(differences: Mapping[str, Any], metric: str, *, measured: bool) -> str:
    """The change of ``metric``; nothing for the first run and where another metric tells it (perplexity)."""
    if metric not in differences:
        return ""
    if differences[metric] is None:
        return OTHER_ROWS if measured else "the first was not measured"
    return interval(differences[metric])
