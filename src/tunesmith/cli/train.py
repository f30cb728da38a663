"""``tunesmith train``: a recipe in, a run folder out."""

from __future__ import annotations

import os
import shlex
from contextlib import closing, nullcontext
from pathlib import Path

import click

from tunesmith.cli.output import INTERRUPTED, emit, json_option, overrides_argument, pairs, recipe_argument, say, stdout

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

    Ctrl-C saves and stops; the same command with --resume goes on from there, exactly.
    """
    from tunesmith.recipe import Recipe

    loaded = Recipe.load(recipe, list(overrides))
    from tunesmith import run  # after the recipe: its mistakes are told before torch is loaded
    from tunesmith.engine.sinks.live import display
    from tunesmith.events import silent

    if resume and out is None and Path(recipe).is_dir():
        out = Path(recipe)
    speaks = os.environ.get("RANK", "0") == "0"  # torchrun starts one process a device; one of them speaks
    with closing(display()) if speaks else nullcontext(silent) as shown:
        result = run.train(loaded, out=out, resume=resume, sinks=(shown,), switch_proofs_off=no_proofs)
    if not speaks:
        return 0
    summary = result.summary()
    finished = summary.get("finished", True)
    if as_json:
        emit(summary)
    else:
        stdout().print(pairs({name: summary[name] for name in SHOWN if summary.get(name) is not None}))
    if finished:
        say(f"\nNext: tunesmith chat {summary['run']}   or   tunesmith merge {summary['run']} --out DIR")
        return 0
    words = ["tunesmith", "train", recipe, *overrides, "--out", summary["run"], "--resume"]
    say(f"\nStopped and saved. Go on with: {shlex.join(words)}")
    return INTERRUPTED
