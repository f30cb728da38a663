"""``tunesmith train``: a recipe in, a run folder out."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tunesmith.cli.early import load_recipe
from tunesmith.cli.gate import tell_forgetting, tell_gate
from tunesmith.cli.output import INTERRUPTED, emit, json_option, overrides_argument, pairs, recipe_argument, say, stdout
from tunesmith.errors import Interrupted

if TYPE_CHECKING:
    from tunesmith.run import Run

SHOWN = (
    "run",
    "steps",
    "train_loss",
    "validation_loss",
    "tokens_per_second",
    "useful_fraction",
    "peak_memory_bytes",
    "trainable_parameters",
)
"""What a person reads of a summary; the rest is in the run folder's report.json."""


@click.command()
@recipe_argument
@overrides_argument
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint of this run.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; by default runs/<name>.")
@click.option("--no-proofs", is_flag=True, help="Start without the proofs.")
@json_option
def train(
    recipe: str, overrides: tuple[str, ...], resume: bool, out: Path | None, no_proofs: bool, as_json: bool
) -> int:
    """Train from RECIPE, with options changed as in `train.epochs=2 method.rank=8`.

    Ctrl-C saves and stops; the same command with --resume goes on from there, exactly. Exit code 1 if the result misses
    a threshold of the recipe's gate or of its suites, such as regression.yaml beside the recipe.
    """
    loaded = load_recipe(recipe, overrides)
    from tunesmith import run  # after the recipe: its mistakes are told before torch is loaded
    from tunesmith.engine.sinks.live import display
    from tunesmith.events import silent

    if resume and out is None and Path(recipe).is_dir():
        out = Path(recipe)
    speaks = os.environ.get("RANK", "0") == "0"  # torchrun starts one process a device; one of them speaks
    again = ["train", recipe, *overrides, *(["--no-proofs"] if no_proofs else [])]
    try:
        with closing(display()) if speaks else nullcontext(silent) as shown:
            result = run.train(loaded, out=out, resume=resume, sinks=(shown,), switch_proofs_off=no_proofs)
    except Interrupted as stop:
        return stopped(stop, again, as_json=as_json) if speaks else INTERRUPTED
    if not speaks:
        return 0
    summary = result.summary()
    _show(summary, as_json=as_json)
    for warning in summary.get("warnings", ()):
        say(f"\nwarning: {warning}")
    _tell_findings(result, summary)
    shipped = tell_gate(summary.get("gate"), words_only=as_json)
    if summary.get("finished", True):
        ask = f"predict {summary['run']} TEXT" if summary.get("task_head") else f"chat {summary['run']}"
        name = summary["run"]
        say(f"\nNext: tunesmith {ask}   or   tunesmith report {name}   or   tunesmith merge {name} --out DIR")
        return 0 if shipped else 1
    say(f"\nStopped and saved. Go on with: {_command([*again, '--out', summary['run'], '--resume'])}")
    return INTERRUPTED


def stopped(stop: Interrupted, again: Sequence[str], *, as_json: bool) -> int:
    """Say what an interrupted run has saved and how to go on: by ``again``, the words that began it, and its folder."""
    resume = ["--resume"] if stop.begun else []
    if as_json:
        emit({"run": stop.folder, "finished": False, "stopped": stop.saved})
    say(f"\n{stop.saved} Go on with: {_command([*again, '--out', stop.folder, *resume])}")
    return INTERRUPTED


def _show(summary: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit(summary)
        return
    from tunesmith.cli.story import tell_changes, tell_sources

    console = stdout()
    console.print(pairs({name: summary[name] for name in SHOWN if summary.get(name) is not None}))
    tell_changes(summary.get("changes", {}), console)
    tell_sources(summary.get("by_source", {}), console)
    if summary.get("suites"):
        tell_forgetting(summary.get("forgetting_table"))


def _tell_findings(run: Run, summary: Mapping[str, Any]) -> None:
    """Say in a line each what the diagnosis found, but for what a warning has said."""
    for finding in run.last_stage.read("diagnosis.json").get("findings", ()):
        if not (finding["name"] == "rate-too-high" and summary.get("warnings")):
            say(f"\n{finding['name'].replace('-', ' ')}: {finding['what']} {finding['advice']}")


def _command(words: Sequence[str]) -> str:
    return shlex.join(["tunesmith", *words])
