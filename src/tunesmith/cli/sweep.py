"""``tunesmith sweep``: many trainings of one recipe with other options, over one base in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tunesmith.cli.early import load_recipe
from tunesmith.cli.output import (
    INTERRUPTED,
    emit,
    grid,
    json_option,
    overrides_argument,
    recipe_argument,
    say,
    stdout,
)
from tunesmith.errors import Interrupted, UserError


@click.command()
@recipe_argument
@overrides_argument
@click.option(
    "--over",
    multiple=True,
    metavar="A.B=VALUES",
    help="What to try: a list (method.rank=8,16) or a range (train.learning_rate=1e-4:1e-2:log). May be given several "
    "times.",
)
@click.option("--trials", type=click.IntRange(1), default=8, show_default=True, help="Trainings at most.")
@click.option(
    "--halving",
    type=click.IntRange(0),
    default=3,
    show_default=True,
    help="At marks 1/N of a group goes on, N times as far (successive halving); 0 trains every trial to the end.",
)
@click.option(
    "--together",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="Trials in a group; what a group showed decides what the next one tries.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of what is tried.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the sweep; by default sweeps/<name>.")
@json_option
def sweep(
    recipe: str, overrides: tuple[str, ...], over: tuple[str, ...], out: Path | None, as_json: bool, **options: int
) -> int:
    """Train RECIPE with other options again and again, and name the best.

    All trials stand on one base in memory. Each is a run folder of its own, the same run that `tunesmith train` makes
    of these options. The same command goes on with a sweep that was stopped; typed a second time while the first is
    running, it takes groups of trials off it.
    """
    loaded = load_recipe(recipe, overrides)
    from tunesmith import run
    from tunesmith.run.sweep_space import spaces
    from tunesmith.run.sweep_trials import Plan

    folder = out or Path("sweeps") / loaded.name
    try:
        result = run.sweep(loaded, spaces(over), Plan(**options), out=folder, tell=say)
    except Interrupted:
        say(f"\nStopped and saved in {folder}; the same command goes on from there.")
        return INTERRUPTED
    picture = _picture(result, folder)
    if as_json:
        emit(result | {"picture": picture})
        return 0
    _show(result)
    best = result["best"]
    say(f"best: trial {best['number']}, in {folder / 'best'}; every trial: {picture or folder / 'trials'}")
    say(f"\nNext: tunesmith report {folder / 'best'}   or   tunesmith compare {_two(result)}")
    return 0


def _picture(result: dict[str, Any], folder: Path) -> str | None:
    """The path of the page of trials; None, said why, where pictures cannot be drawn."""
    from tunesmith.files import write_text
    from tunesmith.run.sweep_page import sweep_page

    try:
        write_text(folder / "sweep.html", sweep_page(result))
    except UserError as error:
        say(f"no page of the trials: {error}")
        return None
    return str(folder / "sweep.html")


def _show(result: dict[str, Any]) -> None:
    """Trials, the best first."""
    paths = list(result["trials"][0]["values"])
    sign = -1.0 if result["higher_is_better"] else 1.0
    order = sorted(
        result["trials"],
        key=lambda row: (row["state"] != "finished", float("inf") if row["value"] is None else sign * row["value"]),
    )
    columns = ("trial", *(path.rpartition(".")[2] for path in paths), result["metric"], "updates", "state")
    rows: list[tuple[str, ...]] = [
        (
            str(row["number"]),
            *(_value(row["values"][path]) for path in paths),
            "-" if row["value"] is None else f"{row['value']:.4f}",
            f"{row['updates']} of {row['of']}",
            row["state"],
        )
        for row in order
    ]
    stdout().print(grid(columns, rows))


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _two(result: dict[str, Any]) -> str:
    """The best two trials that were trained to the end."""
    sign = -1.0 if result["higher_is_better"] else 1.0
    done = [row for row in result["trials"] if row["state"] == "finished" and row["value"] is not None]
    return " ".join(row["run"] for row in sorted(done, key=lambda row: sign * row["value"])[:2])
