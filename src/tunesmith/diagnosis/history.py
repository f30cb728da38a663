"""What rules look at: curves, judgements and options of one run, each number with the place in its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean
from typing import Any, Literal

Severity = Literal["note", "warn", "bad"]


@dataclass(frozen=True)
class Evidence:
    """One observation in words; ``source`` is where its number stands (``events.jsonl#/12/loss``), if in a file."""

    text: str
    source: str = ""


@dataclass(frozen=True)
class Finding:
    """``what`` was seen, and in ``advice`` what to do: both one or two sentences for someone who did not look."""

    name: str
    severity: Severity
    what: str
    advice: str
    evidence: Sequence[Evidence] = ()


@dataclass(frozen=True)
class Point:
    """A number of an event: ``step`` counts updates, ``place`` is the event's line in the record (from 0)."""

    step: int
    value: float
    place: int

    def source(self, key: str) -> str:
        """Where it stands."""
        return f"events.jsonl#/{self.place}/{key}"


@dataclass(frozen=True)
class Row:
    """A row with its loss: nats a target under the tuned model, and under the base where that is known.

    ``where`` is its file and line, ``text`` its beginning; ``label`` and ``said`` name the classes of labelled rows.
    """

    where: str
    text: str
    loss: float
    base: float | None = None
    label: str = ""
    said: str = ""


@dataclass(frozen=True)
class History:
    """One run. ``rows_of(step)`` gives the rows of update ``step`` with their losses now, the highest first."""

    events: Sequence[Mapping[str, Any]]
    recipe: Mapping[str, Any]
    report: Mapping[str, Any] = field(default_factory=dict)
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    usual_rate: float | None = None
    """The method's usual learning rate."""
    rows: Sequence[Row] = ()
    """Training and held-out rows that were measured after training."""
    rows_of: Callable[[int], Sequence[Row]] | None = None

    def points(self, kind: str, key: str) -> list[Point]:
        """``key`` in every event of ``kind`` where it is a number."""
        found = []
        for place, event in enumerate(self.events):
            value = event.get(key) if event["kind"] == kind else None
            if isinstance(value, int | float) and not isinstance(value, bool):
                found.append(Point(event["step"], float(value), place))
        return found

    @property
    def losses(self) -> list[Point]:
        """The loss of every update."""
        return self.points("step", "loss")

    @property
    def held_out(self) -> list[Point]:
        """The held-out loss of every evaluation."""
        return self.points("evaluation", "validation_loss")

    def option(self, *keys: str) -> Any:
        """A value of the recipe, None where there is none."""
        value: Any = self.recipe
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    @property
    def rate(self) -> float:
        """The learning rate that was asked for."""
        return float(self.option("train", "learning_rate") or 0.0)


def means(values: Sequence[float], parts: int) -> list[float]:
    """Means of ``parts`` equal stretches (of fewer where there are not enough values)."""
    return [fmean(stretch) for stretch in stretches(values, parts)]


def stretches(values: Sequence[float], parts: int) -> list[Sequence[float]]:
    """``values`` cut into ``parts`` of the same length (or one apart)."""
    parts = min(parts, len(values))
    edges = [len(values) * part // parts for part in range(parts + 1)] if parts else []
    return [values[start:end] for start, end in pairwise(edges)]


def update_sizes(history: History) -> list[Evidence]:
    """The largest measured size of an update relative to the weights, where it was measured."""
    ratios = history.points("step", "update_ratio")
    if not ratios:
        return []
    most = max(ratios, key=lambda point: point.value)
    text = f"update {most.step:,} changed the trained weights by {most.value:.1e} of their size; 1e-03 is usual"
    return [Evidence(text, most.source("update_ratio"))]
