"""``tunesmith compare``: how runs differ, with intervals, and which of them are worth having."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from tunesmith.cli.output import emit, grid, interval, json_option, say, shown, stdout

OTHER_ROWS = "not the same rows: no paired difference"


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN RUN...")
@click.option("--score", help="The metric that stands for quality, such as `answers f1`; by default the task's first.")
@json_option
def compare(runs: tuple[Path, ...], score: str | None, as_json: bool) -> None:
    """Compare each further RUN with the first one, and mark those that no other beats in everything.

    The second table has score, forgetting, memory and speed of each; a run with a star is not beaten: no other is at
    least as good in all of them.
    """
    from tunesmith import run

    result = run.compare(list(runs), score=score)
    if as_json:
        emit(result)
        return
    columns = ("metric", "run", "value (95% interval)", f"difference to {result['first']}")
    console = stdout()
    console.print(grid(columns, list(_rows(result))))
    console.print(grid(_costs(result), list(_trade(result["trade"]))))
    say("* no other run is at least as good in all of these and better in one")


def _rows(result: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A line for each run that has the metric, metric by metric."""
    runs, first = result["runs"], result["first"]
    metrics = list(dict.fromkeys(metric for values in runs.values() for metric in values))
    for metric in metrics:
        for number, (name, values) in enumerate((name, values) for name, values in runs.items() if metric in values):
            change = _difference(result["differences"].get(name, {}), metric, measured=metric in runs[first])
            yield metric if number == 0 else "", name, interval(values[metric]), change


def _costs(result: Mapping[str, Any]) -> tuple[str, ...]:
    return ("", "run", result["score"] or "score", "forgetting (nats a token)", "peak memory (MiB)", "tokens a second")


def _trade(trade: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """A line for each run with what it costs."""
    for name, found in trade.items():
        memory = None if found["memory"] is None else round(found["memory"] / 2**20)
        cells = (found["score"], found["forgetting"], memory, found["speed"])
        yield "*" if found["pareto"] else "", name, *(shown(cell) for cell in cells)


def _difference(differences: Mapping[str, Any], metric: str, *, measured: bool) -> str:
    """The change of ``metric``; nothing for the first run and where another metric tells it (perplexity)."""
    if metric not in differences:
        return ""
    if differences[metric] is None:
        return OTHER_ROWS if measured else "the first was not measured"
    return interval(differences[metric])
