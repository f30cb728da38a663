"""A recipe of several stages: each is a run of its own that starts where the one before ended.

    runs/<name>/  recipe.yaml  stages/1-head/ (a whole run folder)  stages/2-top/ …  report.json  model -> the last one

Progressive unfreezing (Howard & Ruder 2018, arXiv:1801.06146, section 3.3) is such a programme, and so is any sequence
of methods and objectives: supervised, then a reward model, then reinforcement from the supervised model with that
reward. A stopped run goes on inside the stage it was in.

The trap: the last stage's own "before" is the stage before; what the whole run did is judged from the first one's,
where both were asked the same, and otherwise from the last one's.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tunesmith.errors import Interrupted
from tunesmith.evaluation.comparison import as_dict
from tunesmith.events import Event, Sink, fan_out
from tunesmith.recipe import Recipe
from tunesmith.run import folder as folders
from tunesmith.run.folder import Run
from tunesmith.run.judge import Marks, compared, same_kind
from tunesmith.run.programme import expanded, origin_of, stage_recipes, with_folders
from tunesmith.run.reachable import check_reachable
from tunesmith.run.resolve import settled
from tunesmith.run.training import train_one
from tunesmith.run.verdict import as_report


def train(
    recipe: Recipe,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    sinks: tuple[Sink, ...] = (),
    switch_proofs_off: bool = False,
) -> Run:
    """Train ``recipe`` into a run folder, stage by stage where it has stages.

    A failed proof raises ``GateFailed``, bad input ``UserError``, and Ctrl-C outside the updates ``Interrupted``;
    Ctrl-C during an update ends the run after it, saved.
    """
    emit = fan_out(*sinks)
    staged = expanded(recipe, emit=emit)
    if not staged.stages:
        return train_one(recipe, out=out, resume=resume, sinks=sinks, switch_proofs_off=switch_proofs_off)
    recipes = stage_recipes(staged)
    run = folders.create(recipe, out, resume=resume)
    if resume:
        run.same_recipe(recipe)
    run.write_recipe(recipe, asked=recipe)
    done: list[Run] = []
    names = [stage.name for stage in recipes]
    for number, stage in enumerate(recipes):
        emit(Event("phase", 0, {"text": f"stage {number + 1} of {len(recipes)}: {stage.name}"}))
        here = Run(run.stage_folder(number, stage.name))
        recipes[number] = with_folders(stage, {name: one.folder for name, one in zip(names, done, strict=False)})
        check_reachable(recipes[number])
        origin = origin_of(staged, number, names)
        if origin is not None:
            _hand_over(done[origin], here, same_exam=_same_exam(recipes[origin], stage))
            recipes[number] = settled(recipes[number], "model", start=str(done[origin].folder.resolve()))
        begun = resume and here.begun
        if not (begun and here.finished):
            try:
                train_one(
                    recipes[number], out=here.folder, resume=begun, sinks=sinks, switch_proofs_off=switch_proofs_off
                )
            except Interrupted as stop:
                raise Interrupted(stop.saved, folder=str(run.folder), begun=True) from stop
        done.append(here)
        if not here.finished:
            break
    _summarise(run, done, total=len(recipes))
    return run


def _same_exam(one: Recipe, other: Recipe) -> bool:
    """Whether two stages are judged by the same questions."""
    asked = ("data", "objective", "evaluate", "retention", "seed")
    return all(getattr(one, key) == getattr(other, key) for key in asked)


def _hand_over(before: Run, after: Run, *, same_exam: bool) -> None:
    """What the tuned model of one stage was measured at is the next one's starting point: it is not measured again."""
    marks = before.read("eval/after.json")
    if marks and same_exam and not after.read("eval/before.json"):
        after.write("eval/before.json", marks)


def _summarise(run: Run, done: Sequence[Run], *, total: int) -> None:
    """The whole run's report: the last stage's, with the change since before the first."""
    reports = [stage.summary() for stage in done]
    finished = len(done) == total and done[-1].finished
    report = dict(reports[-1]) | {"run": str(run.folder), "finished": finished}
    report["steps"] = sum(one.get("steps", 0) for one in reports)
    report["seconds"] = round(sum(one.get("seconds", 0.0) for one in reports), 2)
    for name in ("energy_joules", "cpu_seconds"):
        spent = [one[name] for one in reports if one.get(name) is not None]
        report[name] = round(sum(spent), 3) if len(spent) == len(reports) else None
    report["stages"] = reports
    before, after = done[0].read("eval/before.json"), done[-1].read("eval/after.json")
    if finished and after:
        for name, marks in (("before", before), ("after", after)):
            run.write(f"eval/{name}.json", marks)
        first, asked = Marks.from_dict(before), done[-1].read("eval/before.json")
        if not same_kind(first.task, Marks.from_dict(after).task):  # the stages were not asked the same
            first, before = replace(first, task=Marks.from_dict(asked).task), before | {"task": asked.get("task", {})}
        changes = as_dict(compared(first, Marks.from_dict(after)))
        report |= {"before": before.get("task", {}), "after": after["task"], "changes": changes}
        report["forgetting"] = changes.get("retention", {}).get("nll", {}).get("change") or {}
        _point_to(run, done[-1].artifact)
        report |= as_report(report, run.recipe.gate)
    run.write("report.json", report)


def _point_to(run: Run, artifact: Path) -> None:
    """``adapter`` or ``model`` of the whole run is the last stage's."""
    link = run.folder / artifact.name
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        shutil.rmtree(link)
    link.symlink_to(os.path.relpath(artifact, run.folder), target_is_directory=True)
