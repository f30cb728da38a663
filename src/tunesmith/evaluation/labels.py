"""What a task head said of held-out rows, its metrics with intervals, and their change.

A unit is what is redrawn for an interval: a text, a sequence of labelled words (words of one text are not independent),
a question (with all windows of its context).

Shape legend: ``U`` units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.contracts.objective import Problem, TaskHead
from tunesmith.metrics import confusion, correlation, multi_label
from tunesmith.metrics.calibration import calibration_error
from tunesmith.metrics.entities import matches, names_entities
from tunesmith.metrics.intervals import Estimate, Statistics, mean_interval, ratio_interval, resampled

LOWER_IS_BETTER = frozenset({"loss", "squared_error", "calibration_error"})
RETRIEVAL = ("recall@1", "recall@5", "recall@10", "mrr", "ndcg@10", "map")
MEANS = frozenset({"accuracy", "exact_match", "f1", *RETRIEVAL})
"""Metrics that are plain means over units, whose interval is exact where all units agree."""


NAMES: Mapping[Problem, tuple[str, ...]] = {
    "class": (
        "loss",
        "accuracy",
        "macro_f1",
        "macro_precision",
        "macro_recall",
        "matthews",
        "auroc",
        "calibration_error",
    ),
    "classes": ("loss", "micro_f1", "micro_precision", "micro_recall", "macro_f1", "exact_match"),
    "number": ("loss", "squared_error", "pearson", "spearman"),
    "tokens": ("loss", "accuracy", "macro_f1"),
    "span": ("loss", "exact_match", "f1"),
    "embedding": ("loss", *RETRIEVAL, "pearson", "spearman"),
}
"""Metrics of each problem."""
ENTITIES = ("entity_f1", "entity_precision", "entity_recall")
"""Metrics of words besides, where their labels name entities."""
KNOWN = frozenset(chain(*NAMES.values(), ENTITIES))


def metric_names(head: TaskHead) -> tuple[str, ...]:
    """Metrics of a task head; of several tasks ``name/metric`` of each. Labels not known yet may name entities."""
    if head.problem == "tasks":
        own = (f"{name}/{metric}" for name, one in head.tasks.items() for metric in metric_names(one))
        return ("loss", *own)
    words = head.problem == "tokens" and (not head.labels or names_entities(head.labels))
    return (*NAMES[head.problem], *(ENTITIES if words else ()))


def lower_is_better(metric: str) -> bool:
    """Which way ``metric`` (or ``task/metric``) improves."""
    return metric.rpartition("/")[2] in LOWER_IS_BETTER


@dataclass(frozen=True)
class Given:
    """Answers of a task head.

    ``loss`` and ``weight`` float64 ``[U]``: the loss is ``Σ loss / Σ weight``. ``wanted`` and ``said`` hold for each
    unit the class, the classes, the number, or the classes of its words; for answers that stand in a context the
    accepted texts and the text given. ``columns`` are further numbers a unit, each float64 ``[U]``.
    """

    problem: Problem
    labels: tuple[str, ...]
    loss: NDArray[np.float64]
    weight: NDArray[np.float64]
    wanted: Sequence[Any]
    said: Sequence[Any]
    columns: Mapping[str, NDArray[np.float64]]
    sources: NDArray[np.int64]
    content: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.loss)

    def as_dict(self) -> dict[str, Any]:
        """As JSON: None for what is not a number (AUROC of rows that are all of one class)."""
        arrays = {name: getattr(self, name).tolist() for name in ("loss", "weight", "sources", "content")}
        columns = {
            name: [None if np.isnan(value) else value for value in values.tolist()]
            for name, values in self.columns.items()
        }
        names = {"problem": self.problem, "labels": list(self.labels)}
        return {**names, **arrays, "wanted": list(self.wanted), "said": list(self.said), "columns": columns}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Given:
        """The inverse of :meth:`as_dict`."""
        return cls(
            problem=value["problem"],
            labels=tuple(value["labels"]),
            loss=np.array(value["loss"], dtype=np.float64),
            weight=np.array(value["weight"], dtype=np.float64),
            wanted=value["wanted"],
            said=value["said"],
            columns={name: np.array(numbers, dtype=np.float64) for name, numbers in value["columns"].items()},
            sources=np.array(value["sources"], dtype=np.int64),
            content=np.array(value["content"], dtype=np.int64),
        )

    def same_sequences(self, other: object) -> bool:
        """Whether both are of the same rows, in the same order."""
        return isinstance(other, Given) and np.array_equal(self.content, other.content)

    def only(self, chosen: NDArray[np.bool_]) -> Given:
        """The units where ``chosen`` is set."""
        places = np.flatnonzero(chosen).tolist()
        return Given(
            self.problem,
            self.labels,
            self.loss[chosen],
            self.weight[chosen],
            [self.wanted[at] for at in places] if self.wanted else [],
            [self.said[at] for at in places] if self.said else [],
            {name: values[chosen] for name, values in self.columns.items()},
            self.sources[chosen],
            self.content[chosen],
        )

    def statistics(self) -> Statistics:
        """Every metric but the loss, over the units at given places."""
        return _STATISTICS[self.problem](self)


@dataclass(frozen=True)
class LabelReport:
    """Metrics of what was ``given``, each with a 95% interval."""

    given: Given

    @property
    def sums(self) -> Given:
        """What every unit gave."""
        return self.given

    @property
    def loss(self) -> Estimate:
        """The objective's own loss."""
        return ratio_interval(self.given.loss, self.given.weight)

    def values(self) -> dict[str, float]:
        """The numbers alone, without the time that intervals take."""
        every = np.arange(len(self.given))
        return {"loss": float(self.given.loss.sum() / self.given.weight.sum()), **self.given.statistics()(every)}

    def metrics(self) -> Mapping[str, Estimate]:
        """The estimates by name."""
        return self._metrics

    @cached_property
    def _metrics(self) -> dict[str, Estimate]:
        found = resampled(self.given.statistics(), len(self.given))
        means = {name: mean_interval(self.given.columns[name]) for name in MEANS & self.given.columns.keys()}
        return {"loss": self.loss, **found, **means}

    def by_source(self) -> dict[int, LabelReport]:
        """The same of every data source."""
        sources = np.unique(self.given.sources).tolist()
        return {source: LabelReport(self.given.only(self.given.sources == source)) for source in sources}

    def change_from(self, before: LabelReport) -> dict[str, Estimate]:
        """After minus before, paired by unit."""
        found = resampled(self.given.statistics(), len(self.given), before=before.given.statistics())
        return {"loss": ratio_interval(self.given.loss - before.given.loss, self.given.weight), **found}


def _of_classes(given: Given) -> Statistics:
    wanted, said = np.array(given.wanted, dtype=np.int64), np.array(given.said, dtype=np.int64)
    columns, classes = given.columns, len(given.labels)

    def statistics(places: NDArray[np.int64]) -> dict[str, float]:
        table = confusion.confusion(wanted[places], said[places], classes)
        sure = calibration_error(columns["confidence"][places], columns["accuracy"][places] > 0)
        return {
            "accuracy": confusion.accuracy(table),
            "macro_f1": confusion.macro_f1(table),
            "macro_precision": confusion.macro_precision(table),
            "macro_recall": confusion.macro_recall(table),
            "matthews": confusion.matthews(table),
            "auroc": float(columns["auroc"][places].mean()),
            "calibration_error": sure,
        }

    return statistics


def _of_several(given: Given) -> Statistics:
    wanted, said = (_present(lists, len(given.labels)) for lists in (given.wanted, given.said))

    def statistics(places: NDArray[np.int64]) -> dict[str, float]:
        one, other = wanted[places], said[places]
        return {
            "micro_f1": multi_label.micro_f1(one, other),
            "micro_precision": multi_label.micro_precision(one, other),
            "micro_recall": multi_label.micro_recall(one, other),
            "macro_f1": multi_label.macro_f1(one, other),
            "exact_match": float((one == other).all(axis=1).mean()),
        }

    return statistics


def _of_numbers(given: Given) -> Statistics:
    wanted, said = np.array(given.wanted, dtype=np.float64), np.array(given.said, dtype=np.float64)
    measures = (correlation.squared_error, correlation.pearson, correlation.spearman)
    return lambda places: {one.__name__: one(wanted[places], said[places]) for one in measures}


def _of_words(given: Given) -> Statistics:
    classes, units = len(given.labels), len(given)
    unit = np.repeat(np.arange(units), [len(words) for words in given.wanted])
    wanted, said = (np.array([*chain.from_iterable(lists)], dtype=np.int64) for lists in (given.wanted, given.said))
    cell = wanted * classes + said
    found = _entities(given) if names_entities(given.labels) else None

    def statistics(places: NDArray[np.int64]) -> dict[str, float]:
        times = np.bincount(places, minlength=units)[unit]
        table = np.bincount(cell, weights=times, minlength=classes * classes).reshape(classes, classes).astype(np.int64)
        words = {"accuracy": confusion.accuracy(table), "macro_f1": confusion.macro_f1(table)}
        return words if found is None else words | _matched(*found[:, places].sum(axis=1))

    return statistics


def _entities(given: Given) -> NDArray[np.float64]:
    """``[3, U]``: how many entities each text has, how many are said, how many of them are right."""
    names = np.array(given.labels)
    both = zip(given.wanted, given.said, strict=True)
    found = [matches(names[wanted].tolist(), names[said].tolist()) for wanted, said in both]
    return np.array([[one.wanted, one.said, one.right] for one in found], dtype=np.float64).T


def _matched(wanted: float, said: float, right: float) -> dict[str, float]:
    """Micro-averaged over all entities; 0 where there are none to be right about."""
    return {
        "entity_f1": 2 * right / max(1.0, wanted + said),
        "entity_precision": right / max(1.0, said),
        "entity_recall": right / max(1.0, wanted),
    }


def _of_answers(given: Given) -> Statistics:
    names = ("exact_match", "f1")
    return lambda places: {name: float(given.columns[name][places].mean()) for name in names}


def _of_vectors(given: Given) -> Statistics:
    """Agreement with scores where there are any, else retrieval."""
    if given.wanted:
        wanted, said = np.array(given.wanted, dtype=np.float64), np.array(given.said, dtype=np.float64)
        measures = (correlation.pearson, correlation.spearman)
        return lambda places: {one.__name__: one(wanted[places], said[places]) for one in measures}
    return lambda places: {name: float(values[places].mean()) for name, values in given.columns.items()}


def _present(lists: Sequence[Sequence[int]], classes: int) -> NDArray[np.bool_]:
    table = np.zeros((len(lists), classes), dtype=np.bool_)
    for row, numbers in enumerate(lists):
        table[row, list(numbers)] = True
    return table


_STATISTICS = {
    "class": _of_classes,
    "classes": _of_several,
    "number": _of_numbers,
    "tokens": _of_words,
    "span": _of_answers,
    "embedding": _of_vectors,
}
