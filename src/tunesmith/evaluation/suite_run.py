"""Measuring a suite: its tasks by their metrics, its checks one by one.

Everything a file can be wrong about is told before anything is generated. What a model does wrong is a result: a model
that says nothing gets its scores, and where a metric finds nothing to measure the task fails with that reason.

How rows are read, answered and scored is given as functions, so that a suite knows no tokenizer and no model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tunesmith.contracts.data import Prompt
from tunesmith.contracts.sampler import GREEDY, Sampling
from tunesmith.errors import UserError, did_you_mean
from tunesmith.evaluation.answers import AnswerReport, AnswerRow
from tunesmith.evaluation.checks import Check
from tunesmith.evaluation.labels import LabelReport
from tunesmith.evaluation.suite import CHECKS, Row, Suite, Task
from tunesmith.evaluation.tasks import TasksReport
from tunesmith.metrics import TABLE
from tunesmith.metrics.base import Metric, Unit
from tunesmith.metrics.intervals import Estimate, share_interval
from tunesmith.metrics.perplexity import Losses, LossMetric


@dataclass(frozen=True)
class Question:
    """One prompt of a task as ids, and its right answers."""

    prompt: Prompt
    references: Sequence[str]

    def unit(self, answers: Sequence[str] = ()) -> Unit:
        """The question with ``answers``, as metrics see it."""
        return Unit(answers, self.references, self.prompt.text, self.prompt.meta)


@dataclass(frozen=True)
class Asking:
    """How questions are to be answered; ``max_new_tokens`` None leaves it to the model's recipe."""

    samples: int = 1
    sampling: Sampling = GREEDY
    max_new_tokens: int | None = None


@dataclass(frozen=True)
class Measures:
    """What a suite needs of a model. A model with a task head has ``labels``, and the others are not called."""

    read: Callable[[Path], Sequence[Row]]
    """The rows of a file."""
    questions: Callable[[Sequence[Row], str], Sequence[Question]]
    """Rows as questions; the text names the column of references."""
    answers: Callable[[Sequence[Question], Asking], AnswerReport]
    """``samples`` rows for each question, beside each other."""
    losses: Callable[[Sequence[Row]], Losses]
    """What the rows' own answers or texts cost."""
    labels: Callable[[Sequence[Row]], LabelReport | TasksReport] | None = None
    """Metrics of labelled rows."""


@dataclass(frozen=True)
class TaskResult:
    """What came out for one task; ``answers`` where it was answered by generation, ``note`` where something is odd."""

    task: Task
    value: Estimate
    answers: Sequence[AnswerRow] = ()
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the task's thresholds are met."""
        return self.task.passes(self.value.value)


@dataclass(frozen=True)
class CheckResult:
    """What was answered to one check, and what is wrong with it."""

    check: Check
    answer: str
    trouble: str | None

    def as_dict(self) -> dict[str, Any]:
        """``{name, prompt, answer, passed, why}``."""
        passed = self.trouble is None
        said = {"name": self.check.label, "prompt": self.check.prompt, "answer": self.answer}
        return {**said, "passed": passed, "why": self.trouble or ""}


@dataclass(frozen=True)
class SuiteResult:
    """What came out, in the order of the tasks."""

    name: str
    results: Sequence[TaskResult]
    checks: Sequence[CheckResult] = ()

    @property
    def passed(self) -> bool:
        """Whether every threshold and every check is met."""
        return not self.failed

    @property
    def failed(self) -> list[str]:
        """Names of the tasks and checks that are not."""
        tasks = [result.task.name for result in self.results if not result.passed]
        return tasks + [result.check.label for result in self.checks if result.trouble is not None]

    def as_dict(self) -> dict[str, Any]:
        """``{suite, metrics: {task: {value, low, high, n}}, checks, notes, passed, failed: [name], …}``.

        ``bounds`` is how many thresholds and checks there are, ``lower_is_better`` the tasks of which that is so.
        """
        metrics = {result.task.name: result.value.as_dict() for result in self.results}
        if self.checks:
            right = sum(result.trouble is None for result in self.checks)
            metrics[CHECKS] = share_interval(right, len(self.checks)).as_dict()
        return {
            "suite": self.name,
            "metrics": metrics,
            "checks": [result.as_dict() for result in self.checks],
            "notes": [f"{result.task.name}: {result.note}" for result in self.results if result.note],
            "passed": self.passed,
            "failed": self.failed,
            "bounds": sum(result.task.bounded for result in self.results) + len(self.checks),
            "lower_is_better": [result.task.name for result in self.results if result.task.lower_is_better],
        }


def run_suite(suite: Suite, measures: Measures) -> SuiteResult:
    """Measure every task, then every check; see :func:`plan_suite` for what is told before."""
    return plan_suite(suite, measures)()


def plan_suite(suite: Suite, measures: Measures) -> Callable[[], SuiteResult]:
    """``suite`` checked against its rows and the model; calling what is returned measures.

    Raises ``UserError`` before anything is measured: ``empty-suite`` (a task without rows), ``unknown-metric`` (one
    that the model cannot be measured by), ``unmeasurable-row``, and what reading the rows raises.
    """
    planned = [(task, _rows(task, suite, measures)) for task in suite.tasks]
    plans = [_plan(task, rows, measures) for task, rows in planned]
    checks = _checks(suite.checks, measures)
    return lambda: SuiteResult(suite.name, [plan() for plan in plans], checks())


def _rows(task: Task, suite: Suite, measures: Measures) -> Sequence[Row]:
    rows = measures.read(Path(task.rows)) if isinstance(task.rows, str) else task.rows
    if not rows:
        raise UserError(f"the task '{task.name}' of the suite '{suite.name}' has no row", code="empty-suite")
    return rows


def _plan(task: Task, rows: Sequence[Row], measures: Measures) -> Callable[[], TaskResult]:
    """The task checked against its rows; calling it measures."""
    labels, figure = measures.labels, task.figure
    if labels is not None:
        return lambda: TaskResult(task, _of_labels(task, labels(rows)))
    if isinstance(figure, LossMetric):
        return lambda: TaskResult(task, figure.of(measures.losses(rows)))
    if not isinstance(figure, Metric):
        raise UserError(
            f"the task '{task.name}' asks for a metric of labels, and the model has no task head",
            got=f"'{task.part.name}'",
            allowed=list(TABLE),
            code="unknown-metric",
        )
    questions = measures.questions(rows, task.references)
    figure.check([question.unit() for question in questions])
    return lambda: _answered(task, figure, questions, measures)


def _answered(task: Task, metric: Metric, questions: Sequence[Question], measures: Measures) -> TaskResult:
    asking = Asking(task.samples, Sampling(temperature=task.temperature), task.max_new_tokens)
    rows = measures.answers(questions, asking).rows
    groups = [rows[first : first + task.samples] for first in range(0, len(rows), task.samples)]
    units = [question.unit([row.answer for row in group]) for question, group in zip(questions, groups, strict=True)]
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
    return TaskResult(task, value, scored, note)


def _checks(checks: Sequence[Check], measures: Measures) -> Callable[[], list[CheckResult]]:
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
    questions = measures.questions(rows, "")

    def judge() -> list[CheckResult]:
        answers = [row.answer for row in measures.answers(questions, Asking()).rows]
        pairs = zip(checks, answers, strict=True)
        return [CheckResult(check, answer, check.trouble(answer)) for check, answer in pairs]

    return judge


def _of_labels(task: Task, report: LabelReport | TasksReport) -> Estimate:
    metrics, name = report.metrics(), task.part.name
    if name not in metrics:
        raise UserError(
            f"the task '{task.name}' asks for a metric that the model's objective does not have",
            got=f"'{name}'",
            allowed=list(metrics),
            hint=did_you_mean(name, metrics),
            code="unknown-metric",
        )
    return metrics[name]
