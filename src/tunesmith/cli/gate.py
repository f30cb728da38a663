"""``tunesmith gate``: the verdict on a run, line by line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from tunesmith.cli.output import emit, grid, interval, json_option, say, shown, stdout


@click.command()
@click.argument("run")
@click.argument("thresholds", nargs=-1, metavar="[NAME=VALUE]...")
@json_option
def gate(run: str, thresholds: tuple[str, ...], as_json: bool) -> int:
    """Judge RUN by its recipe's gate, with thresholds added or changed as in `task.f1=0.6 sure=true`.

    Above the verdict stands what was gained and what was forgotten. Exit code 1 if a threshold is missed, 2 if one
    names what was not measured.
    """
    from tunesmith import run as runs
    from tunesmith.recipe.yaml12 import read_yaml

    values = {}
    for text in thresholds:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"a threshold is NAME=VALUE, got '{text}'")
        values[name] = read_yaml(value, f"threshold '{text}'")
    found = runs.gate(run, values)
    if as_json:
        emit(found)
        return 0 if found["ship"] else 1
    tell_forgetting(found.get("forgetting_table"))
    return 0 if tell_gate(found) else 1


def tell_forgetting(table: Mapping[str, Any] | None) -> None:
    """Print what was gained and what was lost; nothing where nothing was measured before."""
    if not table or not table["lines"]:
        return
    rows, about = [], ""
    for line in table["lines"]:
        cells = (f"{line['what']} {line['metric']}", shown(line["before"]["value"]), shown(line["after"]["value"]))
        rows.append(("" if line["about"] == about else line["about"], *cells, interval(line["change"]), _verdict(line)))
        about = line["about"]
    stdout().print(grid(("about", "figure", "before", "after", "change [95% interval]", ""), rows))
    gain, loss = table.get("task_gain"), table.get("retention_loss")
    if gain:
        say(f"task: {gain['what']} {gain['metric']} changed by {interval(gain['change'])}, {gain['verdict']}")
    if loss:
        say(f"retention: {interval(loss)} of its tasks' rows lost on average")


def _verdict(line: Mapping[str, Any]) -> str:
    return "unknown: too few rows" if line["verdict"] == "unknown" else line["verdict"] or ""


def tell_gate(found: Mapping[str, Any] | None, *, words_only: bool = False) -> bool:
    """Tell a verdict, its lines too unless ``words_only``; whether the run may ship (also where nothing is asked)."""
    if not found:
        return True
    rows = [
        (
            "passed" if line["passed"] else "FAILED",
            line["name"],
            interval({key: line[key] for key in ("value", "low", "high")}),
            line["needed"],
            line["why"],
        )
        for line in found["lines"]
    ]
    if not words_only:
        stdout().print(grid(("", "figure", "measured", "needed", "why not"), rows))
    say("SHIP" if found["ship"] else "DO NOT SHIP")
    return bool(found["ship"])
