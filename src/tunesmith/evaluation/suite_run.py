"""Measuring a suite: its tasks by their metrics, its checks one by one.

Everything a file can be wrong about is told before anything is generated (``suite_plan``). What a model does wrong is a
result: a model that says nothing gets its scores, and where a metric finds nothing to measure the task fails with that
reason.

Shape legend: ``U`` rows of a task, ``S`` numbers a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.evaluation.answers import AnswerRow
from tunesmith.evaluation.checks import Check
from tunesmith.evaluation.comparison import Comparison
from tunesmith.evaluation.labels import LabelReport
from tunesmith.evaluation.suite import CHECKS, Suite
from tunesmith.evaluation.suite_task import Task
from tunesmith.evaluation.tasks import TasksReport
from tunesmith.metrics.base import Figure
from tunesmith.metrics.intervals import Estimate, paired_sums, share_interval


@dataclass(frozen=True)
class Measured:
    """What a model made of rows: the figure, and what each row gave to it, so that it can be paired with another.

    ``parts`` float64 ``[U, S]``; ``report`` instead where a task head was asked.
    """

    value: Estimate
    answers: Sequence[AnswerRow] = ()
    note: str = ""
    parts: NDArray[np.float64] | None = None
    report: LabelReport | TasksReport | None = None


@dataclass(frozen=True)
class TaskResult:
    """What came out for one task; ``content`` is a digest of its rows and of how they were asked."""

    task: Task
    measured: Measured
    content: str = ""
    variations: Mapping[str, Measured] = field(default_factory=dict)
    """The same rows in other forms, by the name of the variation."""
    notes: Sequence[str] = ()

    @property
    def value(self) -> Estimate:
        """The figure of the rows as they are."""
        return self.measured.value

    @property
    def answers(self) -> Sequence[AnswerRow]:
        """What was answered, where it was answered by generation."""
        return self.measured.answers

    def change(self, variation: str) -> Estimate | None:
        """What a variation changes, paired by row."""
        after = self.variations[variation]
        name = self.task.part.name
        if self.measured.report is not None and after.report is not None:
            return _of_reports(self.measured.report, after.report).get(name)
        return difference(self.task.figure, self.measured.parts, after.parts)

    @property
    def trouble(self) -> list[str]:
        """Names of the thresholds that are missed: the task's own, and of each variation that costs too much."""
        missed = [] if self.task.passes(self.value.value) else [self.task.name]
        if self.task.drop is None:
            return missed
        sign = 1.0 if self.task.lower_is_better else -1.0
        costs = {name: self.change(name) for name in self.variations}
        return missed + [
            f"{self.task.name}/{name}"
            for name, change in costs.items()
            if change is None or not sign * change.value <= self.task.drop
        ]


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
    """What came out, in the order of the tasks; ``notes`` say what was left out, and why."""

    name: str
    results: Sequence[TaskResult]
    checks: Sequence[CheckResult] = ()
    notes: Sequence[str] = ()
    about: str = "task"
    content: str = ""

    @property
    def passed(self) -> bool:
        """Whether every threshold and every check is met."""
        return not self.failed

    @property
    def failed(self) -> list[str]:
        """Names of the tasks and checks that are not."""
        tasks = [name for result in self.results for name in result.trouble]
        return tasks + [result.check.label for result in self.checks if result.trouble is not None]

    def as_dict(self) -> dict[str, Any]:
        """``{suite, about, metrics: {task: {value, low, high, n}}, variations, checks, notes, passed, failed, …}``.

        ``variations`` holds for every ``task/variation`` the paired change, whose value is among the metrics;
        ``bounds`` is how many thresholds and checks there are, ``lower_is_better`` the tasks of which that is so,
        ``parts`` what every row gave and ``content`` digests of what was asked, task by task.
        """
        metrics = {name: one.value.as_dict() for name, _, one in self._all()}
        parts = {name: one.parts.tolist() for name, _, one in self._all() if one.parts is not None}
        content = {name: result.content for name, result, _ in self._all()}
        if self.checks:
            right = [float(result.trouble is None) for result in self.checks]
            metrics[CHECKS] = share_interval(int(sum(right)), len(right)).as_dict()
            parts[CHECKS], content[CHECKS] = [[one, 1.0] for one in right], self.content
        return {
            "suite": self.name,
            "about": self.about,
            "metrics": metrics,
            "variations": self._variations(),
            "checks": [result.as_dict() for result in self.checks],
            "notes": self._notes(),
            "passed": self.passed,
            "failed": self.failed,
            "bounds": sum(_bounds(result) for result in self.results) + len(self.checks),
            "lower_is_better": [name for name, result, _ in self._all() if result.task.lower_is_better],
            "parts": parts,
            "content": content,
        }

    def _all(self) -> list[tuple[str, TaskResult, Measured]]:
        """Every figure by its name in results: tasks, each followed by its variations."""
        found = []
        for result in self.results:
            found.append((result.task.name, result, result.measured))
            found += [(f"{result.task.name}/{name}", result, one) for name, one in result.variations.items()]
        return found

    def _variations(self) -> dict[str, Any]:
        changes = {
            f"{result.task.name}/{name}": result.change(name) for result in self.results for name in result.variations
        }
        return {name: None if change is None else change.as_dict() for name, change in changes.items()}

    def _notes(self) -> list[str]:
        own = [f"{name}: {one.note}" for name, _, one in self._all() if one.note]
        more = [f"{result.task.name}: {note}" for result in self.results for note in result.notes]
        return [*own, *more, *self.notes]


def difference(
    figure: Figure | None, before: NDArray[np.float64] | None, after: NDArray[np.float64] | None
) -> Estimate | None:
    """After minus before of a figure, paired by row; None where the two are not of the same rows."""
    if figure is None or before is None or after is None or before.shape != after.shape:
        return None
    try:
        return paired_sums(before, after, figure.value)
    except ValueError:
        return None


def changes(suite: Suite, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Comparison]:
    """Every task of ``after`` beside ``before``: two results of ``suite`` as ``SuiteResult.as_dict`` gives them.

    The change is None where the two were not asked the same rows.
    """
    figures = {task.name: task.figure for task in suite.tasks}
    tasks = {task.name: task for task in suite.tasks}
    found = []
    for name, value in after["metrics"].items():
        own = tasks.get(name.partition("/")[0], tasks.get(name))
        same = name in before["metrics"] and before["content"].get(name) == after["content"].get(name)
        pair = [np.asarray(one["parts"][name]) if name in one["parts"] else None for one in (before, after)]
        figure = _SHARE if name == CHECKS else figures.get(own.name) if own else None
        change = difference(figure, *pair) if same else None
        old = estimate(before["metrics"][name]) if same else None
        lower = name in after["lower_is_better"]
        found.append(Comparison(after["suite"], name, old, estimate(value), change, higher_is_better=not lower))
    return found


def estimate(value: Mapping[str, Any]) -> Estimate:
    """The inverse of ``Estimate.as_dict``, as far as JSON keeps it: no bound is an infinite one."""
    number = float("nan") if value["value"] is None else value["value"]
    low = float("-inf") if value["low"] is None else value["low"]
    high = float("inf") if value["high"] is None else value["high"]
    return Estimate(number, low, high, value["n"])


class _Share(Figure):
    """Passed checks of all."""

    NAME = "share"

    def value(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(sums[..., 0] / sums[..., 1])


_SHARE = _Share()


def _of_reports(before: LabelReport | TasksReport, after: LabelReport | TasksReport) -> dict[str, Estimate]:
    if isinstance(before, LabelReport) and isinstance(after, LabelReport):
        return after.change_from(before)
    if isinstance(before, TasksReport) and isinstance(after, TasksReport):
        return after.change_from(before)
    return {}


def _bounds(result: TaskResult) -> int:
    return int(result.task.bounded) + (len(result.variations) if result.task.drop is not None else 0)
