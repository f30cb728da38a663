"""Reports of several tasks told by one model: the metrics of each by ``task/metric``, and their common loss

    L = Σ_t w_t · ( Σ_i ℓ_ti / Σ_i v_ti )    over the rows that have the task.

A row that has several tasks is one unit, so the interval of the common loss redraws whole rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.evaluation.labels import Given, LabelReport
from tunesmith.metrics.intervals import Estimate, Statistics, resampled

LOSS = "loss"


@dataclass(frozen=True)
class TaskPart:
    """What was said of one task, of which rows (int64 ``[U]``, places among all), and its weight in the loss."""

    given: Given
    rows: NDArray[np.int64]
    weight: float

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"given": self.given.as_dict(), "rows": self.rows.tolist(), "weight": self.weight}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> TaskPart:
        """The inverse of :meth:`as_dict`."""
        return cls(Given.from_dict(value["given"]), np.array(value["rows"], dtype=np.int64), value["weight"])


@dataclass(frozen=True)
class TasksSums:
    """What was said of every task, by its name."""

    tasks: Mapping[str, TaskPart]

    def as_dict(self) -> dict[str, Any]:
        """As JSON; ``tasks`` is what it is recognised by."""
        return {"tasks": {name: part.as_dict() for name, part in self.tasks.items()}}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> TasksSums:
        """The inverse of :meth:`as_dict`."""
        return cls({name: TaskPart.from_dict(part) for name, part in value["tasks"].items()})

    def same_sequences(self, other: object) -> bool:
        """Whether both are of the same rows and tasks, in the same order."""
        return (
            isinstance(other, TasksSums)
            and self.tasks.keys() == other.tasks.keys()
            and all(part.given.same_sequences(other.tasks[name].given) for name, part in self.tasks.items())
        )

    def of_source(self, source: int) -> TasksSums:
        """The rows of one data source, and the tasks that they have."""
        found = {}
        for name, part in self.tasks.items():
            chosen = part.given.sources == source
            if chosen.any():
                found[name] = replace(part, given=part.given.only(chosen), rows=part.rows[chosen])
        return TasksSums(found)

    @property
    def rows(self) -> NDArray[np.int64]:
        """The rows that have any task, in their order."""
        return np.unique(np.concatenate([part.rows for part in self.tasks.values()]))

    def loss(self) -> Statistics:
        """The common loss over the rows at given places of ``rows``; draws that lack a task altogether have none."""
        every = self.rows
        parts = [
            (np.searchsorted(every, one.rows), one.weight, one.given.loss, one.given.weight)
            for one in self.tasks.values()
        ]

        def statistics(places: NDArray[np.int64]) -> dict[str, float]:
            times = np.bincount(places, minlength=len(every))
            counts = [float(times[rows] @ count) for rows, _, _, count in parts]
            if not all(counts):
                return {LOSS: float("nan")}
            sums = (weight * float(times[rows] @ loss) for rows, weight, loss, _ in parts)
            return {LOSS: sum(one / count for one, count in zip(sums, counts, strict=True))}

        return statistics


@dataclass(frozen=True)
class TasksReport:
    """Metrics of every task in ``sums`` and the common loss, each with a 95% interval."""

    sums: TasksSums

    @cached_property
    def reports(self) -> dict[str, LabelReport]:
        """The report of each task by itself."""
        return {name: LabelReport(part.given) for name, part in self.sums.tasks.items()}

    def values(self) -> dict[str, float]:
        """The numbers alone, without the time that intervals take."""
        common = dict(self.sums.loss()(np.arange(len(self.sums.rows))))
        return common | {
            f"{name}/{metric}": value for name, one in self.reports.items() for metric, value in one.values().items()
        }

    def metrics(self) -> Mapping[str, Estimate]:
        """The estimates by name."""
        return self._metrics

    @cached_property
    def _metrics(self) -> dict[str, Estimate]:
        common = resampled(self.sums.loss(), len(self.sums.rows))
        return common | {
            f"{name}/{metric}": value for name, one in self.reports.items() for metric, value in one.metrics().items()
        }

    def by_source(self) -> dict[int, TasksReport]:
        """The same of every data source, with the tasks that its rows have."""
        sources = np.unique(np.concatenate([part.given.sources for part in self.sums.tasks.values()])).tolist()
        return {source: TasksReport(self.sums.of_source(source)) for source in sources}

    def change_from(self, before: TasksReport) -> dict[str, Estimate]:
        """After minus before, paired by row."""
        common = resampled(self.sums.loss(), len(self.sums.rows), before=before.sums.loss())
        changes = {name: one.change_from(before.reports[name]) for name, one in self.reports.items()}
        return common | {f"{name}/{metric}": value for name, own in changes.items() for metric, value in own.items()}
