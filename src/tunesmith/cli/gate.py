"""``tunesmith gate``: the verdict on a run, line by line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from tunesmith.cli.output import emit, grid, interval, json_option, say, stdout


@click.command()
@click.argument("run")
@click.argument("thresholds", nargs=-1, metavar="[NAME=VALUE]...")
@json_option
def gate(run: str, thresholds: tuple[str, ...], as_json: bool) -> int:
    """Judge RUN by its recipe's gate, with thresholds added or changed as in `task.f1=0.6 sure=true`.

    Exit code 1 if one is missed.
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
    return 0 if tell_gate(found) else 1


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
