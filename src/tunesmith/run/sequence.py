"""A sequence of tasks, learned one after the other: what of each is left after each (a recipe whose stages are tasks).

    a_ij   a metric on the held-out rows of task j with the model after task i; row 0 is the base

    backward transfer   1/(T−1) · Σ_{j<T} (a_Tj − a_jj)      (Lopez-Paz & Ranzato 2017, arXiv:1706.08840, equation 3)
    average             1/T · Σ_j a_Tj                       (equation 2)

For accuracies a negative transfer is forgetting, for losses a positive one. ``own`` is the mean of the diagonal a_jj:
what one keeps with one adapter a task (every stage with ``start: base``), each task asked of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from tunesmith.errors import UserError
from tunesmith.events import Event, Sink, fan_out
from tunesmith.recipe import Recipe
from tunesmith.run.folder import Run
from tunesmith.run.judge import Exam, measure
from tunesmith.run.programme import stage_recipes
from tunesmith.run.rows import prepare_with
from tunesmith.run.session import Session, open_session
from tunesmith.run.stages import train
from tunesmith.run.use import open_run

BASE = "base"
FILE = "transfer.json"


def continual(
    recipe: Recipe,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    sinks: tuple[Sink, ...] = (),
    switch_proofs_off: bool = False,
) -> Run:
    """Train the stages of ``recipe`` and measure every task after each; ``report.json`` gets ``transfer``.

    Raises as ``train`` does, and ``UserError`` ``no-stages``, ``no-validation``.
    """
    if len(recipe.stages) < 2:
        raise UserError(
            "a sequence of tasks needs two stages at least",
            got=f"{len(recipe.stages)} stages",
            hint="Give each task a stage with its own data: stages: [{name: one, data: {train: [one.jsonl]}}, …].",
            code="no-stages",
        )
    run = train(recipe, out=out, resume=resume, sinks=sinks, switch_proofs_off=switch_proofs_off)
    if run.finished:
        table = transfer(run, emit=fan_out(*sinks))
        run.write("report.json", {**run.summary(), "transfer": table})
    return run


def transfer(run: Run, *, emit: Sink) -> dict[str, Any]:
    """Every task's metrics after every stage of a finished run; kept in its folder."""
    kept = run.read(FILE)
    if kept:
        return kept
    recipes = stage_recipes(run.recipe)
    names = [stage.name for stage in recipes]
    stages = [Run(run.stage_folder(number, name)) for number, name in enumerate(names)]
    rows: dict[str, dict[str, dict[str, float]]] = {}
    exams: list[Exam] = []
    for number, name in enumerate([BASE, *names]):
        emit(Event("phase", 0, {"text": f"all tasks, {'the base' if name == BASE else f'after {name}'}"}))
        session = open_session(recipes[0], masters=False) if number == 0 else open_run(stages[number - 1])
        exams = exams or [_exam(session, stage) for stage in recipes]
        rows[name] = {task: measure(session, exam).values() for task, exam in zip(names, exams, strict=True)}
    table = summary(rows, names)
    run.write(FILE, table)
    return table


def summary(rows: Mapping[str, Mapping[str, Mapping[str, float]]], tasks: Sequence[str]) -> dict[str, Any]:
    """``after[stage][task][metric]`` (as ``rows``); of each metric ``backward_transfer``, ``average``, ``own``."""
    last, metrics = rows[tasks[-1]], list(rows[tasks[0]][tasks[0]])
    own = {metric: [rows[task][task][metric] for task in tasks] for metric in metrics}
    moved = {metric: [last[task][metric] - rows[task][task][metric] for task in tasks[:-1]] for metric in metrics}
    return {
        "tasks": list(tasks),
        "after": {name: {task: dict(found) for task, found in row.items()} for name, row in rows.items()},
        "backward_transfer": {metric: fmean(values) for metric, values in moved.items()},
        "average": {metric: fmean(last[task][metric] for task in tasks) for metric in metrics},
        "own": {metric: fmean(values) for metric, values in own.items()},
    }


def _exam(session: Session, stage: Recipe) -> Exam:
    """The held-out rows of a task, as ``session`` reads them."""
    prepared = prepare_with(stage, session.encoder)
    rows = list(prepared.validation)
    if not rows:
        raise UserError(
            f"the task {stage.name} has no held-out rows",
            hint="Set data.validation to a share or to sources.",
            code="no-validation",
        )
    if session.task is not None or session.parts.objective.beside:
        raise UserError(
            "tasks are compared by the loss of their words",
            got=f"objective {stage.objective.name}",
            allowed="sft or pretrain in every stage",
            code="cannot-combine",
        )
    return Exam(rows, [], [])
