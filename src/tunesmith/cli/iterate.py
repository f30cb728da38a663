"""``tunesmith iterate``: rounds of mining failures and training on them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from tunesmith.cli.output import INTERRUPTED, emit, grid, interval, json_option, say, stdout
from tunesmith.errors import Interrupted
from tunesmith.recipe.yaml12 import read_yaml


@click.command()
@click.argument("run_folder", metavar="RUN")
@click.option("--rounds", type=click.IntRange(1), default=1, show_default=True, help="Rounds in all.")
@click.option("--rows", multiple=True, help="Rows to mine in place of those it was trained on (several allowed).")
@click.option(
    "--replay",
    type=click.FloatRange(0.0, 1.0, max_open=True),
    default=0.5,
    show_default=True,
    help="Share of old rows in every update.",
)
@click.option("--metric", default="exact_match", show_default=True, help="What says how right an answer is.")
@click.option("--below", type=float, default=1.0, show_default=True, help="An answer that scores less is wrong.")
@click.option("--reward", multiple=True, metavar="YAML", help="Rewards in place of the metric (several allowed).")
@click.option("--limit", type=click.IntRange(1), help="Most rows to ask about in a round.")
@click.option("--out", type=click.Path(path_type=Path), help="Where rounds are kept; by default RUN-rounds.")
@json_option
def iterate(run_folder: str, rounds: int, out: Path | None, as_json: bool, **given: Any) -> int:
    """Train RUN on what it got wrong, and compare on the same held-out rows; round by round.

    Each round asks the model about rows, takes those it answers wrongly, and trains on from it with old rows replayed.
    The same command goes on where it was stopped; more --rounds go on from the last.
    """
    from tunesmith import run
    from tunesmith.engine.sinks.live import display

    mining = {"metric": given["metric"], "below": given["below"]}
    if given["reward"]:
        mining["rewards"] = [read_yaml(text, "--reward") for text in given["reward"]]
    if given["limit"] is not None:
        mining["limit"] = given["limit"]
    try:
        with closing(display()) as seen:
            found = run.iterate(
                run_folder, rounds=rounds, rows=given["rows"], replay=given["replay"], out=out, sinks=(seen,), **mining
            )
    except KeyboardInterrupt as stop:
        saved = stop.saved if isinstance(stop, Interrupted) else "Stopped. What is written is kept."
        say(f"\n{saved} The same command goes on from there.")
        return INTERRUPTED
    if as_json:
        emit(found)
    else:
        stdout().print(grid(COLUMNS, [_line(one) for one in found["rounds"]]))
    if not found["finished"]:
        say("\nStopped and saved. The same command goes on from there.")
        return INTERRUPTED
    if found["stopped"]:
        say(f"No further round: {found['stopped']}.")
    return 0


COLUMNS = ("round", "asked", "wrong", "watched", "before", "after", "change [95% interval]", "verdict", "run")


def _line(one: Mapping[str, Any]) -> tuple[str, ...]:
    counts = (str(one["round"]), f"{one['asked']:,}", f"{one['wrong']:,}")
    if one["watched"] is None:
        return (*counts, "", "", "", "", "", one["run"])
    what, name = one["watched"]
    values = one["changes"][what][name]
    before, change = (("-" if values[key] is None else interval(values[key])) for key in ("before", "change"))
    return (*counts, name, before, interval(values["after"]), change, one["verdict"] or "", one["run"])
