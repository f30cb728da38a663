"""``tunesmith eval``: a suite of tasks on a run or a base model, and what the base made of it before."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.evaluation import suites as shipped
from tunesmith.evaluation.benchmarks import TABLE as BENCHMARKS
from tunesmith.evaluation.comparison import as_dict
from tunesmith.evaluation.suite import Suite, load_suite
from tunesmith.evaluation.suite_plan import plan_suite
from tunesmith.evaluation.suite_run import SuiteResult, changes
from tunesmith.evaluation.suite_task import Task
from tunesmith.events import Event, Sink, silent
from tunesmith.recipe.schema import Part
from tunesmith.run.asking import Asked, read_rows
from tunesmith.run.baselines import baseline
from tunesmith.run.beside import beside_of
from tunesmith.run.folder import Run, never_began
from tunesmith.run.judge import Exam, examine
from tunesmith.run.rows import generated_rows, prepare_with, prompts_of
from tunesmith.run.session import Session, open_session
from tunesmith.run.use import asked_raw, is_run, joined_rows, open_any, open_run

EMBEDDED_SUITE = "embedded"
EMBEDDED_ROWS = 280
EMBEDDED_SEED = 7
KEPT_APART = ("answers", "parts", "content")
"""What a run's report leaves to the files in ``eval/``: it is long."""


def evaluate(
    run_or_model: Run | str | Path,
    *,
    suite: str | Path | Suite | None = None,
    tags: Sequence[str] = (),
    vary: Sequence[str] = (),
    template: str | None = None,
    before: bool = True,
    emit: Sink = silent,
) -> dict[str, Any]:
    """Metrics of a run or a base model on a suite: a file, ``tunesmith:NAME``, ``embedded``, or a suite itself.

    Returns ``{model, suite, metrics: {task: {value, low, high, n}}, variations, changes, checks, notes, passed, failed,
    answers: {task: rows}}``, of the tasks and checks with one of ``tags`` where those are given, asked in the forms
    ``vary`` besides. ``changes`` compares a run with its base, which is measured once (not without ``before``).
    Without ``suite`` a run is measured on its own held-out rows, as at its end, and ``suite`` is None.
    """
    name = run_or_model.folder if isinstance(run_or_model, Run) else run_or_model
    if suite is None:
        return {"model": str(name), **held_out(name)}
    tasks = (suite if isinstance(suite, Suite) else tasks_of(suite)).tagged(tags).varied(vary)
    session, raw = open_any(name, template=template), template is None and asked_raw(Path(name))
    plan = plan_suite(tasks, Asked(session, raw=raw).measures)
    emit(Event("phase", 0, {"text": f"measuring {name} on {tasks.name}"}))
    result = _told(plan())
    if before and is_run(name) and session.task is None:
        emit(Event("phase", 0, {"text": f"measuring its base {session.recipe.model.base}, once"}))
        base = _base_of(session, tasks, raw=raw)
        result["before"] = base["metrics"]
        result["changes"] = as_dict(changes(tasks, base, result)).get(tasks.name, {})
    return {"model": str(name), **result}


def _base_of(session: Session, tasks: Suite, *, raw: bool) -> dict[str, Any]:
    """What the base of a finished run makes of ``tasks``."""
    if session.attached.artifact != "model":
        with session.attached.off():
            return _baseline(session, tasks, raw=raw)
    recipe = session.recipe.model_copy(update={"method": Part(name="full"), "retention": "none"})
    return _baseline(open_session(recipe, masters=False), tasks, raw=raw)


def _baseline(session: Session, tasks: Suite, *, raw: bool) -> dict[str, Any]:
    plan = plan_suite(tasks, Asked(session, raw=raw).measures)
    return baseline(session, plan.content, lambda: _told(plan()), raw=raw)


def held_out(run: str | Path) -> dict[str, Any]:
    """What the result of ``run`` makes of the rows it held out: the metrics of its ``eval/after.json``."""
    if not (Path(run) / "recipe.yaml").is_file() and not never_began(Path(run)):
        raise UserError(
            f"{run} is no run, so it has no held-out rows to be measured on",
            hint=f"Name a suite: --suite FILE, or --suite {EMBEDDED_SUITE} for the shipped one.",
            code="missing-suite",
        )
    session = open_run(run)
    if session.parts.objective.beside and session.attached.artifact == "model":
        return _as_measured(Run.open(run).last_stage)  # what it is compared with, the model before, is gone
    prepared = prepare_with(session.recipe, session.encoder)
    validation = list(prepared.validation)
    prompts = prompts_of(session, prepared)
    if not validation:
        raise UserError(f"{run} held no rows out", hint="Name a suite with --suite.", code="missing-suite")
    spans = session.task is not None and session.task.problem == "span"
    records = prepared.records({example.row for example in validation}) if spans else {}
    return _result(examine(session, Exam(validation, prompts, [], records, beside_of(session, []))).as_dict())


def _as_measured(run: Run) -> dict[str, Any]:
    """The same as it was measured at the run's end."""
    marks = run.read("eval/after.json")
    if not marks:
        raise UserError(f"{run.folder} is not finished", hint="Go on with --resume.", code="run-not-finished")
    return _result(marks)


def _result(marks: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "suite": None,
        "metrics": marks["task"],
        "passed": True,
        "failed": [],
        "answers": {"held-out": marks["answers"]} if marks["answers"] else {},
    }


def tasks_of(suite: str | Path) -> Suite:
    """A suite file, a shipped suite or the embedded one by its name; a ``UserError`` where it cannot be read."""
    name = str(suite).removeprefix(shipped.SCHEME)
    if name == EMBEDDED_SUITE:
        return embedded_suite()
    return load_suite(shipped.path_of(str(suite)) if shipped.is_shipped(str(suite)) else Path(suite))


def measure(session: Session, tasks: Suite, *, raw: bool = False) -> dict[str, Any]:
    """``{suite, metrics, checks, notes, passed, failed, answers, …}`` of a session's model.

    ``raw``: it learned from prompts without a chat template, and questions are asked so.
    """
    return _told(plan_suite(tasks, Asked(session, raw=raw).measures)())


def _told(result: SuiteResult) -> dict[str, Any]:
    answers = {one.task.name: [row.as_dict() for row in one.answers] for one in result.results if one.answers}
    return {**result.as_dict(), "answers": answers}


def check_suites(session: Session, *, raw: bool = False) -> None:
    """Hold the recipe's suites against their rows and the model: what cannot be measured is told before training."""
    for name in session.recipe.evaluate.suites:
        plan_suite(tasks_of(name), Asked(session, raw=raw).measures)


def before_training(session: Session, run: Run, *, emit: Sink = silent, write: bool = True) -> None:
    """Measure the base on the recipe's suites into ``eval/before-suite-NAME.json``; call it with the method off.

    A base with a new task head is not asked: what an untrained head says is chance.
    """
    if session.task is not None or not session.recipe.evaluate.before:
        return
    for name in session.recipe.evaluate.suites:
        tasks = tasks_of(name)
        file = f"eval/before-suite-{tasks.name}.json"
        if (run.folder / file).is_file():
            continue
        emit(Event("phase", 0, {"text": f"the base: suite {name}"}))
        found = _baseline(session, tasks, raw=joined_rows(run))
        if write:
            run.write(file, found)


def after_training(session: Session, run: Run, *, emit: Sink = silent) -> list[dict[str, Any]]:
    """The recipe's suites on the tuned model, beside its base; whole answers go to ``eval/``, what is returned is
    short: each result without them, with ``changes: {task: {before, after, change, verdict}}``."""
    found = []
    for name in session.recipe.evaluate.suites:
        emit(Event("phase", 0, {"text": f"the tuned model: suite {name}"}))
        tasks = tasks_of(name)
        result = measure(session, tasks, raw=joined_rows(run))
        before = run.read(f"eval/before-suite-{tasks.name}.json")
        if before:
            result["changes"] = as_dict(changes(tasks, before, result)).get(tasks.name, {})
        run.write(f"eval/suite-{tasks.name}.json", result)
        found.append({key: value for key, value in result.items() if key not in KEPT_APART})
    return found


def benchmark_suite(
    pairs: Sequence[tuple[str, str]], *, shots: int = 0, examples: str | None = None, limit: int | None = None
) -> Suite:
    """A suite of benchmarks from files: every number of each, under the names ``NAME`` and ``NAME/number``.

    Raises ``UserError``: ``unknown-benchmark``, ``missing-rows``, and what reading the files raises.
    """
    tasks = []
    for name, path in pairs:
        form = BENCHMARKS.load(name)()
        rows = form.read(Path(path), read_rows)[:limit]
        shown = form.read(Path(examples), read_rows)[:shots] if examples is not None and shots else []
        for number in form.metrics:
            label = name if number == form.metric else f"{name}/{number}"
            tasks.append(
                Task(name=label, benchmark=name, metric=number, rows=list(rows), shots=shots, examples=list(shown))
            )
    return Suite(name="benchmarks", tasks=tasks)


def embedded_suite() -> Suite:
    """Seedling's held-out instruction rows, one task a kind."""
    path = generated_rows(EMBEDDED_SEED, split="held-out", rows=EMBEDDED_ROWS)
    kinds: dict[str, list[dict[str, Any]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        kinds.setdefault(row["task"], []).append(row)
    return Suite(name=EMBEDDED_SUITE, tasks=[Task(name=kind, rows=rows) for kind, rows in sorted(kinds.items())])
