"""A suite held against its rows and a model before anything is measured, and then measured.

How rows are read, asked, answered and scored is given as functions, so that a suite knows no tokenizer and no model.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tunesmith.contracts.data import Prompt
from tunesmith.contracts.sampler import GREEDY, Sampling
from tunesmith.errors import UserError, did_you_mean
from tunesmith.evaluation.answers import AnswerReport
from tunesmith.evaluation.benchmarks.base import questions, with_shots
from tunesmith.evaluation.labels import KNOWN, LabelReport
from tunesmith.evaluation.suite import PLACE, Row, Suite
from tunesmith.evaluation.suite_run import CheckResult, Measured, SuiteResult, TaskResult
from tunesmith.evaluation.suite_task import Task
from tunesmith.evaluation.tasks import TasksReport
from tunesmith.evaluation.variations import TEMPLATE, Variation, varied
from tunesmith.metrics import TABLE
from tunesmith.metrics.base import Figure, Metric, Unit
from tunesmith.metrics.intervals import Estimate
from tunesmith.metrics.likelihood import Continuation, Likelihood, LikelihoodMetric
from tunesmith.metrics.perplexity import Losses, LossMetric

Measure = Callable[[], Measured]


@dataclass(frozen=True)
class Question:
    """One prompt of a task as ids, and its right answers."""

    prompt: Prompt
    references: Sequence[str]

    def unit(self, answers: Sequence[str] = ()) -> Unit:
        """The question with ``answers``, as metrics see it."""
        return Unit(answers, self.references, self.prompt.text, self.prompt.meta)


@dataclass(frozen=True)
class Way:
    """How rows are asked: ``raw`` without a chat template (None: as the model was trained); ``other``: in another
    template than usual."""

    raw: bool | None = None
    other: bool = False


@dataclass(frozen=True)
class Asking:
    """How questions are to be answered; ``max_new_tokens`` None leaves it to the model's recipe.

    An answer is cut before the first of ``stop``; blanks at its ends stay where it goes on from raw text.
    """

    samples: int = 1
    sampling: Sampling = GREEDY
    max_new_tokens: int | None = None
    stop: tuple[str, ...] = ()
    blanks: bool = False


@dataclass(frozen=True)
class Measures:
    """What a suite needs of a model. A model with a task head has ``labels``, and the others are not called."""

    read: Callable[[Path], Sequence[Row]]
    """The rows of a file."""
    questions: Callable[[Sequence[Row], str, Way], Sequence[Question]]
    """Rows as questions; the text names the column of references."""
    answers: Callable[[Sequence[Question], Asking], AnswerReport]
    """``samples`` rows for each question, beside each other."""
    losses: Callable[[Sequence[Row]], Losses]
    """What the rows' own answers or texts cost."""
    likelihoods: Callable[[Sequence[Continuation], Way], Sequence[Likelihood]]
    """How likely continuations are."""
    drawn: Callable[[str], Sequence[Row] | str]
    """Rows of what the model was trained on (``suite.ROWS_OF_RUN``), or why there are none."""
    labels: Callable[[Sequence[Row]], LabelReport | TasksReport] | None = None
    """Metrics of labelled rows."""


@dataclass(frozen=True)
class TaskPlan:
    """A task that can be measured: the rows as they are, and in each of its variations."""

    task: Task
    content: str
    measure: Measure
    variations: Mapping[str, Measure]
    notes: tuple[str, ...] = ()

    def __call__(self) -> TaskResult:
        """Measure it."""
        found = {name: measure() for name, measure in self.variations.items()}
        return TaskResult(self.task, self.measure(), self.content, found, self.notes)


@dataclass(frozen=True)
class Plan:
    """A suite that can be measured; ``notes`` say which tasks are left out, and why."""

    suite: Suite
    tasks: Sequence[TaskPlan]
    checks: Callable[[], Sequence[CheckResult]]
    notes: Sequence[str] = ()

    @property
    def content(self) -> str:
        """Digest of all rows, and of how they are asked and measured."""
        held = [task.content for task in self.tasks]
        return digest([held, [check.model_dump() for check in self.suite.checks]])

    def __call__(self) -> SuiteResult:
        """Measure every task, then every check."""
        results = [task() for task in self.tasks]
        return SuiteResult(self.suite.name, results, self.checks(), self.notes, self.suite.about, self.content)


def run_suite(suite: Suite, measures: Measures) -> SuiteResult:
    """Measure ``suite``; see :func:`plan_suite` for what is told before."""
    return plan_suite(suite, measures)()


def plan_suite(suite: Suite, measures: Measures) -> Plan:
    """``suite`` checked against its rows and the model; calling what is returned measures.

    Raises ``UserError`` before anything is measured: ``empty-suite`` (a task without rows), ``unknown-metric`` (one
    that the model cannot be measured by), ``unmeasurable-row``, and what reading the rows raises.
    """
    found, notes = [], []
    for task in suite.tasks:
        rows = _rows(task, suite, measures)
        if isinstance(rows, str):
            notes.append(f"{task.name}: not measured, because {rows}")
        else:
            found.append((task, rows))
    plans = [_plan(task, rows, measures) for task, rows in found]
    return Plan(suite, plans, _checks(suite, measures), notes)


def digest(value: Any) -> str:
    """Hex digest of anything that JSON can hold."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _rows(task: Task, suite: Suite, measures: Measures) -> Sequence[Row] | str:
    """The task's rows as a suite writes them, each of its ``wrap`` applied; or why there are none to be had."""
    told = task.rows if isinstance(task.rows, str) else f"the task '{task.name}'"
    rows = _given(task, task.rows, measures) if task.of_run is None else measures.drawn(task.of_run)
    if isinstance(rows, str):
        return rows
    if not rows:
        raise UserError(f"the task '{task.name}' of the suite '{suite.name}' has no row", code="empty-suite")
    solved = _given(task, task.examples, measures)[: task.shots] if task.shots else []
    if len(solved) < task.shots:
        raise UserError(
            f"the task '{task.name}' asks for {task.shots} solved rows, and its examples have {len(solved)}",
            code="missing-rows",
        )
    form = task.form
    if form is not None:
        rows = questions(form, rows, task.part.name, shots=solved, told=told)
    elif solved:
        rows = [with_shots(dict(row), solved) for row in rows]
    return _wrapped(task, rows) if task.wrap else rows


def _wrapped(task: Task, rows: Sequence[Row]) -> list[Row]:
    """Every row in each of the task's ``wrap``."""
    if not all(isinstance(row.get("prompt"), str) for row in rows):
        raise UserError(f"`wrap` of the task '{task.name}' needs rows with a `prompt`", code="bad-wrap")
    return [{**row, "prompt": text.replace(PLACE, row["prompt"])} for row in rows for text in task.wrap]


def _given(task: Task, rows: str | Sequence[Row], measures: Measures) -> Sequence[Row]:
    if not isinstance(rows, str):
        return rows
    form = task.form
    return measures.read(Path(rows)) if form is None else form.read(Path(rows), measures.read)


def _plan(task: Task, rows: Sequence[Row], measures: Measures) -> TaskPlan:
    """The task checked against its rows, in every form that it is asked in."""
    figure = _figure(task, measures)
    raw = task.raw if task.raw is not None or task.form is None else True
    others: dict[str, Measure] = {}
    notes = []
    for variation in task.vary:
        found = _in_form(rows, variation, "prompt" if measures.labels is None else "text")
        if found is None:
            notes.append(f"'{variation}' changes none of its rows")
        else:
            others[variation] = _measure(task, figure, found, measures, Way(raw, other=variation == TEMPLATE))
    measured = {"part": task.part.model_dump(), "raw": raw, "samples": task.samples, "temperature": task.temperature}
    asked = {"stop": task.stop, "most": task.max_new_tokens, "references": task.references, "vary": task.vary}
    content = digest([list(map(dict, rows)), measured, asked])
    return TaskPlan(task, content, _measure(task, figure, rows, measures, Way(raw)), others, tuple(notes))


def _in_form(rows: Sequence[Row], variation: Variation, column: str) -> Sequence[Row] | None:
    """The rows in another form, those that it does not change as they are; None where it changes none."""
    if variation == TEMPLATE:
        return rows if column == "prompt" else None
    found = [varied(row, variation, column=column) for row in rows]
    if not any(found):
        return None
    return [row if other is None else other for row, other in zip(rows, found, strict=True)]


def _figure(task: Task, measures: Measures) -> Figure | None:
    """The task's metric, where the model can be measured by it; None for those of a task head."""
    if measures.labels is not None:
        _refuse_text(task)
        return None
    figure = task.figure
    if figure is None:
        raise UserError(
            f"the task '{task.name}' asks for a metric of labels, and the model has no task head",
            got=f"'{task.part.name}'",
            allowed=list(TABLE),
            hint="Multiple choice is measured by `acc`, answers by `exact_match`." if _means_share(task) else None,
            code="unknown-metric",
        )
    return figure


def _refuse_text(task: Task) -> None:
    if task.part.name.rpartition("/")[2] in KNOWN:
        return
    raise UserError(
        f"the task '{task.name}' is measured on text, and the model has a task head, which writes none",
        got=f"the metric '{task.part.name}'",
        allowed=f"metrics of labels: {', '.join(sorted(KNOWN))}",
        hint="Its held-out rows are measured without --suite.",
        code="unknown-metric",
    )


def _means_share(task: Task) -> bool:
    return task.part.name.rpartition("/")[2] == "accuracy"


def _measure(task: Task, figure: Figure | None, rows: Sequence[Row], measures: Measures, way: Way) -> Measure:
    """``rows`` checked; calling what is returned measures them."""
    labels = measures.labels
    if labels is not None:
        return lambda: _of_labels(task, labels(rows))
    if isinstance(figure, LossMetric):
        return lambda: _of_losses(figure, measures.losses(rows))
    if isinstance(figure, LikelihoodMetric):
        figure.check(rows)
        return lambda: _of_likelihoods(figure, rows, measures, way)
    assert isinstance(figure, Metric)
    asked = measures.questions(rows, task.references, way)
    figure.check([question.unit() for question in asked])
    return lambda: _answered(task, figure, asked, measures, raw=bool(way.raw))


def _of_losses(figure: LossMetric, losses: Losses) -> Measured:
    return Measured(figure.of(losses), parts=figure.parts(losses))


def _of_likelihoods(figure: LikelihoodMetric, rows: Sequence[Row], measures: Measures, way: Way) -> Measured:
    asked = [figure.asked(row) for row in rows]
    said = iter(measures.likelihoods([one for each in asked for one in each], way))
    parts = figure.parts(rows, [[next(said) for _ in each] for each in asked])
    return Measured(figure.interval(parts), parts=parts)


def _answered(task: Task, metric: Metric, asked: Sequence[Question], measures: Measures, *, raw: bool) -> Measured:
    form = task.form
    stop, most = (form.stop, form.max_new_tokens) if form else ((), None)
    sampling = Sampling(temperature=task.temperature)
    asking = Asking(task.samples, sampling, task.max_new_tokens or most, (*task.stop, *stop), blanks=raw)
    rows = measures.answers(asked, asking).rows
    groups = [rows[first : first + task.samples] for first in range(0, len(rows), task.samples)]
    units = [question.unit([row.answer for row in group]) for question, group in zip(asked, groups, strict=True)]
    empty = sum(not row.answer.strip() for row in rows)
    note = f"{empty} of {len(rows)} answers are empty" if empty else ""
    parts = metric.parts(units)
    try:
        value = metric.interval(parts)
    except UserError as error:
        if error.code != "nothing-measured":
            raise
        value, note = Estimate(math.nan, -math.inf, math.inf, len(units)), str(error)
    each = np.asarray(metric.value(parts), dtype=np.float64)
    scored = [
        replace(row, scores={**row.scores, task.part.name: float(one)} if math.isfinite(one) else row.scores)
        for one, group in zip(each, groups, strict=True)
        for row in group
    ]
    return Measured(value, scored, note, parts)


def _checks(suite: Suite, measures: Measures) -> Callable[[], list[CheckResult]]:
    checks = suite.checks
    if not checks:
        return list
    if measures.labels is not None:
        raise UserError(
            "the suite has checks of answers, and the model has a task head, which writes none",
            hint="Measure it by `tasks:` with labelled rows.",
            code="unknown-metric",
        )
    rows: list[Mapping[str, Any]] = [
        {"prompt": check.prompt, **({"system": check.system} if check.system else {})} for check in checks
    ]
    asked = measures.questions(rows, "", Way())

    def judge() -> list[CheckResult]:
        answers = [row.answer for row in measures.answers(asked, Asking()).rows]
        pairs = zip(checks, answers, strict=True)
        return [CheckResult(check, answer, check.trouble(answer)) for check, answer in pairs]

    return judge


def _of_labels(task: Task, report: LabelReport | TasksReport) -> Measured:
    metrics, name = report.metrics(), task.part.name
    if name not in metrics:
        raise UserError(
            f"the task '{task.name}' asks for a metric that the model's objective does not have",
            got=f"'{name}'",
            allowed=list(metrics),
            hint=did_you_mean(name, metrics),
            code="unknown-metric",
        )
    return Measured(metrics[name], report=report)
