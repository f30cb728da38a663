"""Suites: tasks in a YAML file that any model can be measured on, with thresholds that say what is good enough.

    name: support
    tasks:
      - name: capitals
        rows: capitals.jsonl        # relative to the suite file, or rows written in place
        metric: exact_match         # exact_match, f1, or perplexity
        threshold: 0.8              # at least this; for perplexity at most

How rows are read, answered and scored is given as functions, so that a suite knows no tokenizer and no model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from tunesmith.errors import UserError, did_you_mean
from tunesmith.evaluation.answers import AnswerReport
from tunesmith.evaluation.labels import KNOWN, LabelReport, lower_is_better
from tunesmith.evaluation.loss import LossReport
from tunesmith.evaluation.tasks import TasksReport
from tunesmith.metrics.intervals import Estimate
from tunesmith.metrics.table import METRICS
from tunesmith.recipe.base import Config
from tunesmith.recipe.load import validated
from tunesmith.recipe.yaml12 import read_yaml

PERPLEXITY = "perplexity"
Row = Mapping[str, Any]


class Task(Config):
    """One thing to measure."""

    name: str = Field(min_length=1)
    """Name of the task in results; unique in its suite."""
    rows: str | list[dict[str, Any]]
    """A file of rows (relative to the suite file), or the rows themselves."""
    metric: str = "exact_match"
    """`exact_match` or `f1` of generated answers, or `perplexity` of the rows' answers or text; of a model with a task
    head any metric of its objective (`accuracy`, `macro_f1`, `pearson` …; of several tasks `name/accuracy`)."""
    threshold: float | None = None
    """What passes: at least this value, for perplexity at most."""

    def passes(self, value: float) -> bool:
        """Whether ``value`` meets the threshold (always, where there is none)."""
        if self.threshold is None:
            return True
        low = self.metric == PERPLEXITY or lower_is_better(self.metric)
        return value <= self.threshold if low else value >= self.threshold


class Suite(Config):
    """A named list of tasks."""

    name: str = "suite"
    """Name of the suite."""
    tasks: list[Task] = []
    """What is measured."""


@dataclass(frozen=True)
class TaskResult:
    """What came out for one task; ``answers`` where it was answered by generation."""

    task: Task
    value: Estimate
    answers: AnswerReport | None = None

    @property
    def passed(self) -> bool:
        """Whether the task's threshold is met."""
        return self.task.passes(self.value.value)


@dataclass(frozen=True)
class SuiteResult:
    """What came out, in the order of the tasks."""

    name: str
    results: Sequence[TaskResult]

    @property
    def passed(self) -> bool:
        """Whether every threshold is met."""
        return all(result.passed for result in self.results)

    def as_dict(self) -> dict[str, Any]:
        """``{suite, metrics: {task: {value, low, high, n}}, passed, failed: [task]}``."""
        return {
            "suite": self.name,
            "metrics": {result.task.name: result.value.as_dict() for result in self.results},
            "passed": self.passed,
            "failed": [result.task.name for result in self.results if not result.passed],
        }


def load_suite(path: Path) -> Suite:
    """The suite in ``path``, row files made absolute.

    Raises ``UserError``: ``missing-suite``, ``not-a-suite``, ``bad-yaml``, ``empty-suite``, ``unknown-metric``,
    ``duplicate-task``, ``missing-rows`` and those of the option checks (``unknown-key`` with the closest key …).
    """
    try:
        values = read_yaml(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        raise UserError(
            f"there is no suite at {path}", hint="A suite is a YAML file with a list of `tasks:`.", code="missing-suite"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the suite {path}: {error}", code="not-a-suite") from None
    if values is not None and not isinstance(values, dict):
        raise UserError(
            f"{path} is not a suite",
            got=f"a {type(values).__name__}",
            allowed="`name:` and `tasks:`",
            code="not-a-suite",
        )
    suite = validated(Suite, values or {})
    if not suite.tasks:
        raise UserError(
            f"the suite {path} has no task",
            hint="Add one under `tasks:`, such as {name: capitals, rows: capitals.jsonl, metric: exact_match}.",
            code="empty-suite",
        )
    tasks = [task.model_copy(update={"rows": _located(task, path.parent)}) for task in suite.tasks]
    _check(tasks, path)
    return suite.model_copy(update={"tasks": tasks})


def run_suite(
    suite: Suite,
    *,
    read: Callable[[Path], Sequence[Row]],
    answers: Callable[[Sequence[Row]], AnswerReport],
    loss: Callable[[Sequence[Row]], LossReport],
    labels: Callable[[Sequence[Row]], LabelReport | TasksReport] | None = None,
) -> SuiteResult:
    """Measure every task: ``read`` a rows file, generate and score ``answers``, or take the ``loss`` of rows.

    A model with a task head has ``labels``, which measures it on labelled rows, and nothing else.

    Raises ``UserError`` (``empty-suite``) where a task has no row.
    """
    results = []
    for task in suite.tasks:
        rows = read(Path(task.rows)) if isinstance(task.rows, str) else task.rows
        if not rows:
            raise UserError(f"the task '{task.name}' of the suite '{suite.name}' has no row", code="empty-suite")
        if labels is not None:
            results.append(TaskResult(task, _of_labels(task, labels(rows))))
        elif task.metric == PERPLEXITY:
            results.append(TaskResult(task, loss(rows).perplexity))
        elif task.metric not in METRICS:
            raise UserError(
                f"the task '{task.name}' asks for a metric of labels, and the model has no task head",
                got=f"'{task.metric}'",
                allowed=sorted([*METRICS, PERPLEXITY]),
                code="unknown-metric",
            )
        else:
            report = answers(rows)
            results.append(TaskResult(task, report.scores[task.metric], report))
    return SuiteResult(suite.name, results)


def _of_labels(task: Task, report: LabelReport | TasksReport) -> Estimate:
    metrics = report.metrics()
    if task.metric not in metrics:
        raise UserError(
            f"the task '{task.name}' asks for a metric that the model's objective does not have",
            got=f"'{task.metric}'",
            allowed=list(metrics),
            hint=did_you_mean(task.metric, metrics),
            code="unknown-metric",
        )
    return metrics[task.metric]


def _located(task: Task, folder: Path) -> str | list[dict[str, Any]]:
    return str((folder / Path(task.rows).expanduser()).resolve()) if isinstance(task.rows, str) else task.rows


def _check(tasks: Sequence[Task], path: Path) -> None:
    names: set[str] = set()
    known = sorted({*METRICS, PERPLEXITY, *KNOWN})
    for task in tasks:
        if task.metric.rpartition("/")[2] not in known:
            raise UserError(
                f"unknown metric of the task '{task.name}' in {path}",
                got=f"'{task.metric}'",
                allowed=known,
                hint=did_you_mean(task.metric, known),
                code="unknown-metric",
            )
        if task.name in names:
            raise UserError(
                f"two tasks of {path} are named '{task.name}'", hint="Results go by name.", code="duplicate-task"
            )
        if isinstance(task.rows, str) and not Path(task.rows).is_file():
            raise UserError(f"the rows of the task '{task.name}' are missing: {task.rows}", code="missing-rows")
        names.add(task.name)
