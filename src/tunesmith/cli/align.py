"""``tunesmith align``: supervised training, then preferences or rewards, as stages of one run."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    shown,
    stdout,
)
from tunesmith.cli.train import stopped
from tunesmith.errors import Interrupted, UserError
from tunesmith.recipe.yaml12 import read_yaml, write_yaml

if TYPE_CHECKING:
    from tunesmith.recipe import Recipe


@click.command()
@recipe_argument
@overrides_argument
@click.option("--with", "programme", type=click.Choice(["dpo", "ppo", "grpo"]), help="Write the usual stages.")
@click.option("--preferences", multiple=True, help="File of pairs, for dpo or a reward model (several allowed).")
@click.option("--reward", multiple=True, metavar="YAML", help="A reward: its name, or {name: …} (several allowed).")
@click.option("--dry-run", is_flag=True, help="Print the recipe with its stages, and train nothing.")
@click.option("--resume", is_flag=True, help="Go on inside the stage that was stopped.")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; by default runs/<name>.")
@click.option("--no-proofs", is_flag=True, help="Start each stage without the proofs.")
@json_option
def align(recipe: str, overrides: tuple[str, ...], dry_run: bool, as_json: bool, **given: Any) -> int:
    """Train RECIPE in stages: supervised, then by preferences (dpo) or rewards (ppo, grpo), and say what each did.

    The stages are the recipe's own `stages:`, or with --with the usual ones, which --dry-run prints for you to change.
    Ctrl-C saves and stops; the same command with --resume goes on inside the stage.
    """
    loaded = _loaded(recipe, overrides, given)
    if dry_run:
        return _print(loaded, as_json=as_json)
    from tunesmith import run
    from tunesmith.engine.sinks.live import display

    out = given["out"]
    if given["resume"] and out is None and Path(recipe).is_dir():
        out = Path(recipe)
    again = _words(recipe, overrides, given)
    try:
        with closing(display()) as seen:
            result = run.align(
                loaded, out=out, resume=given["resume"], sinks=(seen,), switch_proofs_off=given["no_proofs"]
            )
    except Interrupted as stop:
        return stopped(stop, again, as_json=as_json)
    summary = result.summary()
    if as_json:
        emit(summary)
    if not summary.get("finished", True):
        say(
            f"\nStopped and saved. Go on with: {shlex.join(['tunesmith', *again, '--out', summary['run'], '--resume'])}"
        )
        return INTERRUPTED
    if not as_json:
        stdout().print(grid(COLUMNS, [line for stage in summary["align"] for line in _lines(stage)]))
    say(f"\nNext: tunesmith chat {summary['run']}   or   tunesmith merge {summary['run']} --out DIR")
    return 0


def _loaded(recipe: str, overrides: Sequence[str], given: Mapping[str, Any]) -> Recipe:
    loaded = load_recipe(recipe, overrides)
    if given["programme"] is None:
        if given["preferences"] or given["reward"]:
            raise UserError(
                "--preferences and --reward are for the usual stages",
                allowed="--with dpo, ppo or grpo beside them",
                hint="A recipe with stages names its rows and rewards itself.",
                code="cannot-combine",
            )
        return loaded
    from tunesmith.run.alignment import planned

    preferences = [
        str(Path(path).expanduser().resolve()) if Path(path).exists() else path for path in given["preferences"]
    ]
    rewards = [read_yaml(text, "--reward") for text in given["reward"]]
    return planned(loaded, given["programme"], preferences=preferences, rewards=rewards)


def _print(recipe: Recipe, *, as_json: bool) -> int:
    """The recipe with its stages on stdout: a file to change and to train."""
    from tunesmith.run.alignment import check
    from tunesmith.run.programme import expanded, stage_recipes

    check(recipe)
    stages = stage_recipes(expanded(recipe))
    if as_json:
        emit({"recipe": recipe.model_dump(mode="json"), "stages": [one.model_dump(mode="json") for one in stages]})
        return 0
    click.echo(write_yaml(recipe.model_dump(mode="json", exclude_defaults=True)), nl=False)
    for number, one in enumerate(stages, start=1):
        rows = ", ".join(Path(source.path).name for source in one.data.train) or "the base's own rows"
        how = f"{one.objective.name} on {rows}, {one.method.name}, learning rate {one.train.learning_rate:g}"
        say(f"stage {number}, {one.name}: {how}")
    return 0


def _words(recipe: str, overrides: Sequence[str], given: Mapping[str, Any]) -> list[str]:
    """The command that began the run, without where it goes."""
    words = ["align", recipe, *overrides]
    if given["programme"] is not None:
        words += ["--with", given["programme"]]
    for name in ("preferences", "reward"):
        words += [word for value in given[name] for word in (f"--{name}", value)]
    return [*words, *(["--no-proofs"] if given["no_proofs"] else [])]


COLUMNS = ("stage", "measured", "before", "after", "change [95% interval]", "verdict")


def _lines(stage: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A line a measurement; the stage's name stands before the first."""
    found = [
        (f"{kind} {name.replace('_', ' ')}", *_compared(one))
        for kind, values in (("task:", stage["task"]), ("", stage["own"]))
        for name, one in values.items()
    ]
    if stage["kl"] is not None:
        found.append(("kl, nats an answer", "", shown(stage["kl"]), "", ""))
    if stage["forgetting"]:
        found.append(("forgetting, nats a token", "", "", interval(stage["forgetting"]), ""))
    found = found or [("", "", "", "", "")]
    names = [f"{stage['stage']} ({stage['objective']})", *[""] * (len(found) - 1)]
    return [(name, measured.strip(), *rest) for name, (measured, *rest) in zip(names, found, strict=True)]


def _compared(one: Mapping[str, Any]) -> tuple[str, ...]:
    before = "-" if one["before"] is None else interval(one["before"])
    change = "-" if one["change"] is None else interval(one["change"])
    return before, interval(one["after"]), change, one["verdict"] or ""
