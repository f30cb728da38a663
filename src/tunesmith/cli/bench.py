"""``tunesmith bench methods``: which tuning method suits this model and these rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tunesmith.cli.early import load_recipe
from tunesmith.cli.output import (
    INTERRUPTED,
    emit,
    grid,
    interval,
    json_option,
    overrides_argument,
    recipe_argument,
    say,
    stdout,
)


@click.group()
def bench() -> None:
    """Compare on your own model and rows; runs are kept, so a comparison can be stopped and gone on with."""


@bench.command()
@recipe_argument
@overrides_argument
@click.option("--methods", default="", help="Names separated by commas; by default all that are known.")
@click.option(
    "--seeds",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Trainings of each method with its chosen rate.",
)
@click.option(
    "--search",
    type=click.FloatRange(0.0, 1.0, min_open=True),
    default=0.25,
    show_default=True,
    help="Share of the updates that a rate is given in the first tries.",
)
@click.option(
    "--rate", "rates", multiple=True, help="NAME=RATE of a method whose learning rate is known, not searched."
)
@click.option(
    "--test", multiple=True, type=click.Path(exists=True), help="Rows for the final score (may be given several times)."
)
@click.option(
    "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Runs at the same time, one thread each."
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("bench"), show_default=True, help="Where runs are kept."
)
@json_option
def methods(recipe: str, overrides: tuple[str, ...], out: Path, as_json: bool, **options: Any) -> int:
    """Train every method on RECIPE at equal budget: score, forgetting, speed and memory beside full fine-tuning.

    Rates around each method's usual one are tried on the recipe's validation rows, shortly and the best two in full;
    the better is then trained from every seed.
    """
    loaded = load_recipe(recipe, list(overrides))
    from tunesmith.bench.candidates import chosen, known_rates
    from tunesmith.bench.methods import Plan, compare_methods
    from tunesmith.files import write_json

    names = [name.strip() for name in options["methods"].split(",") if name.strip()]
    tests = tuple(str(Path(path).resolve()) for path in options["test"])
    rates = known_rates(options["rates"])
    plan = Plan(seeds=options["seeds"], search_share=options["search"], rates=rates, test=tests)
    try:
        result = compare_methods(loaded, chosen(names), plan, out / "cells", jobs=options["jobs"], say=say)
    except KeyboardInterrupt:
        say(f"\nStopped. Runs that were finished are kept in {out}; the same command goes on from there.")
        return INTERRUPTED
    write_json(out / "methods.json", result)
    if as_json:
        emit(result)
        return 0
    stdout().print(grid(COLUMNS, [_line(row) for row in result["rows"]]))
    say(f"{result['score']} over {result['seeds']} seeds, 95% interval over test rows; speed, memory: full = 1;")
    say("of formula: the speed as a share of what the operations a token of the two let expect.")
    for row in result["rows"]:
        for error in row["failed"]:
            say(f"{row['method']} failed: {error}")
    return 0


COLUMNS = (
    "method",
    "rate",
    "trained",
    "score",
    "against full",
    "forgetting",
    "speed",
    "of formula",
    "memory",
    "shipped",
)


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    if "score" not in row:
        return (row["method"], f"{row['rate']:.1e}", "failed", *("-",) * (len(COLUMNS) - 3))
    against = row.get("against_full")
    kept = row["forgetting"]
    return (
        row["method"],
        f"{row['rate']:.1e}",
        f"{row['share']:.2%}",
        _interval(row["score"]),
        "-" if against is None or row["method"] == "full" else _interval(against, sign="+"),
        "-" if kept is None else f"{kept:+.2f}",
        f"{row['speed']:.2f}",
        "-" if row["of_formula"] is None else f"{row['of_formula']:.2f}",
        f"{row['memory']:.2f}",
        f"{row['artifact_bytes'] / 1e6:.2f} MB",
    )


def _interval(estimate: dict[str, float], sign: str = "") -> str:
    if estimate["low"] is None or estimate["high"] is None:
        return interval(estimate)
    value, low, high = (format(estimate[key], f"{sign}.3f") for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"
