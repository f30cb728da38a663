"""A sweep: many trainings of one recipe with other options, in one process, over one base in memory.

    <out>/  sweep.yaml  study.journal  trials/000/ (a whole run folder) …  best -> trials/003  sweep.json

Trials are trained in groups. With successive halving (Jamieson & Talwalkar 2016, arXiv:1502.07943, algorithm 1) all of
a group are trained to a first mark, the better 1/η of them on to the next, η times as far, and so on: every leg costs
about the same. At a mark a trial is a run that was stopped and is gone on with: its checkpoint holds what has to be
switched, so one adapter and one optimizer are in memory at a time, and a sweep that is killed goes on from the last
checkpoint of each trial.

Everything that decides is read from the run folders, so a sweep gone on with decides as it would have.

The trap: marks are moved up to the next evaluation of the recipe. An evaluation that a run of its own would not have
made could choose another best checkpoint, and the trial would no longer be that run.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tunesmith.engine.schedules import next_evaluation
from tunesmith.engine.sinks.jsonl import read
from tunesmith.errors import Interrupted, UserError
from tunesmith.events import Sink
from tunesmith.files import write_json, write_text
from tunesmith.recipe import Recipe
from tunesmith.recipe.load import dump
from tunesmith.recipe.schema import EarlyStopping, Part, TrainConfig
from tunesmith.recipe.yaml12 import read_yaml, write_yaml
from tunesmith.run.environment import peak_memory
from tunesmith.run.folder import Run
from tunesmith.run.sweep_base import SharedBase
from tunesmith.run.sweep_space import Space, check, recipe_with
from tunesmith.run.sweep_study import Asked, Study
from tunesmith.run.training import train_one

Tell = Callable[[str], None]
BEFORE = "eval/before.json"
OF_A_TRIAL = ("loss-not-finite", "out-of-memory")
"""What goes wrong in training itself; whatever else a run is refused for would be refused in every trial, or says that
the values to try are not right."""


@dataclass(frozen=True)
class Plan:
    """How much is tried: ``trials`` at most, ``together`` in a group, of which 1/``halving`` go on (0: all do)."""

    trials: int = 8
    halving: int = 3
    together: int = 8
    seed: int = 0

    def marks(self, count: int) -> list[float]:
        """Shares of a training after which a group of ``count`` is thinned."""
        if self.halving < 2:
            return []
        rounds = int(math.log(count, self.halving) + 1e-9)
        return [self.halving ** (at - rounds) for at in range(rounds)]


@dataclass(frozen=True)
class Standing:
    """Where a trial's run stands: updates done and planned, and what was measured (``(update, value)``)."""

    done: int = 0
    steps: int = 0
    every: int = 1
    curve: tuple[tuple[int, float], ...] = ()
    over: bool = False
    """Whether it was trained and judged to the end."""

    def at(self, share: float, *, higher: bool) -> float | None:
        """The best value up to the mark after ``share`` of the updates; None where none is a number."""
        mark = next_evaluation(share, self.steps, self.every)
        values = [value for step, value in self.curve if step <= mark and math.isfinite(value)]
        return (max if higher else min)(values, default=None)

    def reached(self, share: float) -> bool:
        """Whether it needs no training to stand at the mark."""
        return self.over or (share < 1.0 and 0 < next_evaluation(share, self.steps, self.every) <= self.done)


@dataclass
class Trial:
    """One training of a sweep."""

    asked: Asked
    recipe: Recipe
    run: Run
    failed: str = ""
    """Why there will be no result."""
    stopped: bool = False
    """Whether others were better at a mark."""
    standing: Standing = field(default_factory=Standing)


def sweep(
    recipe: Recipe, spaces: Sequence[Space], plan: Plan, *, out: str | Path, sinks: tuple[Sink, ...] = (), tell: Tell
) -> dict[str, Any]:
    """Train trials of ``recipe`` with options from ``spaces`` into ``out``; what came of each, and the best.

    The same call goes on with a sweep that was stopped, and joins one that runs. Raises ``UserError``: ``bad-space``,
    ``cannot-sweep``, ``sweep-changed``, ``missing-extra``, ``no-trial-finished`` and what every trial would raise.
    Ctrl-C raises ``Interrupted``.
    """
    folder, started = Path(out), time.perf_counter()
    check(recipe, spaces)
    _same_sweep(folder, recipe, spaces, plan)
    stopping = recipe.train.early_stopping or EarlyStopping()
    higher = stopping.higher_is_better
    study = Study(folder, spaces, trials=plan.trials, higher=higher, seed=plan.seed)
    group = _Group(folder, recipe, plan, study, stopping.metric, SharedBase(), sinks, tell)
    for asked in study.unfinished():
        group.train(asked)
    while asked := study.next(plan.together):
        group.train(asked)
    trials = [_trial(folder, recipe, one, stopping.metric) for one in study.all()]
    result = _result(trials, stopping.metric, higher) | {
        "out": str(folder),
        "seconds": round(time.perf_counter() - started, 2),
        "peak_memory_bytes": peak_memory("cuda" if torch.cuda.is_available() else "cpu"),
        "base_loads": group.base.loads,
    }
    write_json(folder / "sweep.json", result)
    _point_to(folder, result["best"])
    return result


@dataclass
class _Group:
    """Trains groups of trials."""

    folder: Path
    recipe: Recipe
    plan: Plan
    study: Study
    metric: str
    base: SharedBase
    sinks: tuple[Sink, ...]
    tell: Tell
    proven: set[tuple[str, ...]] = field(default_factory=set)
    exams: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def higher(self) -> bool:
        return EarlyStopping(metric=self.metric).higher_is_better

    def train(self, asked: Sequence[Asked]) -> None:
        """Train a group to its end; one that another process works on is left to it."""
        with ExitStack() as held:
            trials = [_trial(self.folder, self.recipe, one, self.metric) for one in asked]
            lock = _lock(self.folder, min(one.number for one in asked))
            if lock is None:
                self.tell(f"trials {asked[0].number} to {asked[-1].number} are trained by another process")
                return
            held.enter_context(lock)
            self.base.expect({trial.asked.number: trial.recipe for trial in trials})
            self._to_the_end(trials)

    def _to_the_end(self, trials: list[Trial]) -> None:
        alive = list(trials)
        for share in [*self.plan.marks(len(trials)), 1.0]:
            for trial in alive:
                self._advance(trial, share)
            for trial in alive:
                if trial.failed:
                    self.study.ended(trial.asked.number, None)
            alive = [trial for trial in alive if not trial.failed]
            if share < 1.0:
                alive = self._thinned(alive, share)
        for trial in alive:
            self.study.ended(trial.asked.number, trial.standing.at(1.0, higher=self.higher))

    def _thinned(self, alive: list[Trial], share: float) -> list[Trial]:
        """The better part of ``alive``, at least one; ties go to the earlier trial."""

        def place(trial: Trial) -> tuple[float, int]:
            value = trial.standing.at(share, higher=self.higher)
            return math.inf if value is None else -value if self.higher else value, trial.asked.number

        ordered = sorted(alive, key=place)
        keep = max(1, len(ordered) // self.plan.halving)
        for trial in ordered[keep:]:
            trial.stopped = True
            value, mark = trial.standing.at(share, higher=self.higher), trial.standing.done
            self.study.ended(trial.asked.number, value, stopped_at=mark)
        if len(ordered) > keep:
            self.tell(f"{keep} of {len(ordered)} go on from {share:.0%} of the updates")
        return sorted(ordered[:keep], key=lambda trial: trial.asked.number)

    def _advance(self, trial: Trial, share: float) -> None:
        """Train ``trial`` to the mark after ``share`` of its updates, if it does not stand there."""
        if trial.failed or trial.standing.reached(share):
            return
        begun = (trial.run.folder / "recipe.yaml").is_file()
        self._hand_over(trial)
        try:
            train_one(
                trial.recipe,
                out=trial.run.folder,
                resume=begun,
                sinks=self.sinks,
                switch_proofs_off=_names(trial.recipe) in self.proven,
                share=share,
                opened=self.base.opener(trial.asked.number),
            )
        except UserError as error:
            if error.code not in OF_A_TRIAL:
                raise
            trial.failed = str(error)
            write_json(trial.run.folder / "failed.json", {"why": trial.failed})
            self.tell(f"trial {trial.asked.number} ({words(trial.asked.values)}) failed: {error}")
            return
        trial.standing = standing(trial.run, self.metric)
        self.proven.add(_names(trial.recipe))
        if trial.run.read(BEFORE):
            self.exams.setdefault(_exam_of(trial.recipe), trial.run.read(BEFORE))
        if not trial.standing.reached(share) and not trial.standing.over:
            raise Interrupted("Stopped and saved.", folder=str(self.folder), begun=True)
        value, at = trial.standing.at(share, higher=self.higher), trial.standing
        shown = "no number" if value is None else f"{value:.4f}"
        what = f"{self.metric} {shown} after {at.done} of {at.steps} updates"
        self.tell(f"trial {trial.asked.number} ({words(trial.asked.values)}): {what}")

    def _hand_over(self, trial: Trial) -> None:
        """What the base was measured at by a trial that is asked the same is not measured again."""
        marks = self.exams.get(_exam_of(trial.recipe))
        if marks is not None and not trial.run.read(BEFORE):
            trial.run.write(BEFORE, marks)


def _exam_of(recipe: Recipe) -> str:
    """What decides how the base does in a trial's exam."""
    return dump(recipe.model_copy(update={"name": "", "method": Part(name="full"), "train": TrainConfig()}))


def _names(recipe: Recipe) -> tuple[str, ...]:
    """What is proven of one run for all with these: other numbers prove no more."""
    return recipe.method.name, recipe.objective.name, recipe.model.base


def standing(run: Run, metric: str) -> Standing:
    """What the files of ``run`` say."""
    if not run.events.is_file():
        return Standing()
    events = read(run.events)
    steps = [int(event["steps"]) for event in events if event["kind"] == "start"]
    curve = [(int(event["step"]), event.get(metric)) for event in events if event["kind"] == "evaluation"]
    report = run.read("report.json")
    return Standing(
        done=int(report.get("steps", 0)),
        steps=steps[-1] if steps else 0,
        every=run.recipe.train.evaluate_every if (run.folder / "recipe.yaml").is_file() else 1,
        curve=tuple((step, math.nan if value is None else float(value)) for step, value in curve),
        over=bool(report.get("finished")),
    )


def words(values: Mapping[str, Any]) -> str:
    """Values for people: ``rank 8, learning_rate 0.0012``."""
    shown = (f"{value:.3g}" if isinstance(value, float) else str(value) for value in values.values())
    return ", ".join(f"{path.rpartition('.')[2]} {value}" for path, value in zip(values, shown, strict=True))


def _trial(folder: Path, recipe: Recipe, asked: Asked, metric: str) -> Trial:
    run = Run(folder / "trials" / f"{asked.number:03d}")
    failed = run.read("failed.json").get("why", "")
    named = recipe_with(recipe, asked.values, name=f"{recipe.name}-{asked.number:03d}")
    return Trial(asked, named, run, failed=failed, standing=standing(run, metric))


def _result(trials: Sequence[Trial], metric: str, higher: bool) -> dict[str, Any]:
    rows = [_row(trial, higher) for trial in trials]
    done = [row for row in rows if row["state"] == "finished" and row["value"] is not None]
    if not done:
        reasons = sorted({row["why"] for row in rows if row["why"]})
        raise UserError("no trial was trained to the end", got=reasons[:3] or None, code="no-trial-finished")
    best = (max if higher else min)(done, key=lambda row: row["value"])
    return {"metric": metric, "higher_is_better": higher, "best": best, "trials": rows}


def _row(trial: Trial, higher: bool) -> dict[str, Any]:
    at, report = trial.standing, trial.run.read("report.json")
    state = "failed" if trial.failed else "finished" if at.over else "stopped" if trial.asked.ended else "running"
    return {
        "number": trial.asked.number,
        "run": str(trial.run.folder),
        "values": dict(trial.asked.values),
        "state": state,
        "value": at.at(1.0, higher=higher),
        "updates": at.done,
        "of": at.steps,
        "seconds": report.get("seconds"),
        "curve": [list(point) for point in at.curve if math.isfinite(point[1])],
        "why": trial.failed,
    }


def _same_sweep(folder: Path, recipe: Recipe, spaces: Sequence[Space], plan: Plan) -> None:
    """Write what is swept, or refuse to mix it with another sweep's trials; only their number may grow."""
    swept = {one.path: vars(one) | {"choices": list(one.choices)} for one in spaces}
    asked = {"over": swept, "halving": plan.halving, "together": plan.together, "seed": plan.seed}
    said = write_yaml({"recipe": read_yaml(dump(recipe), "recipe"), "sweep": asked})
    path = folder / "sweep.yaml"
    if path.is_file() and path.read_text(encoding="utf-8") != said:
        raise UserError(
            f"{folder} holds a sweep of another recipe or other options",
            hint="Choose another folder with --out, or repeat the command it was begun with.",
            code="sweep-changed",
        )
    if not path.is_file():
        write_text(path, said)


def _lock(folder: Path, number: int) -> ExitStack | None:
    """The group that begins with trial ``number`` for this process alone; None where another has it."""
    try:
        return Run(folder / "groups" / f"{number:03d}").lock()
    except UserError:
        return None


def _point_to(folder: Path, best: Mapping[str, Any]) -> None:
    link = folder / "best"
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(best["run"], folder), target_is_directory=True)
