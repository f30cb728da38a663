"""What a metric is: numbers of each answered prompt, and a figure of their sums, so that each has an interval.

    figure = value(Σ_u parts_u)            interval: units redrawn, parts summed, the figure taken again

A mean has parts ``(score, 1)`` and the value ``score / 1``. BLEU is no mean of sentences: its parts are counts of
n-grams, and its interval redraws sentences, not their scores. Where every score is 0 or 1 the interval is Wilson's.

Shape legend: ``U`` units (prompts with what was answered), ``S`` numbers a unit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tunesmith.errors import UserError
from tunesmith.metrics.intervals import Estimate, share_interval, sums_interval
from tunesmith.recipe.base import PartConfig

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Unit:
    """One prompt: what was answered (several times where a metric needs it), and what counts as right."""

    answers: Sequence[str]
    references: Sequence[str] = ()
    prompt: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Untouched further columns of the row."""


class Figure(PartConfig):
    """Base of every metric's config: which way it improves, and the figure of summed parts with its interval."""

    paper: ClassVar[str] = ""
    lower_is_better: ClassVar[bool] = False

    def ready(self) -> None:
        """Raise ``UserError`` (``missing-extra``) now where a library is missing, before anything is generated."""

    def value(self, sums: Array) -> Array:
        """The figure of sums ``[..., S]``: ``[...]``, not a number where it is not defined."""
        raise NotImplementedError

    def interval(self, parts: Array, *, seed: int = 0) -> Estimate:
        """The estimate of parts ``[U, S]``, units without any left out. ``UserError``: ``nothing-measured``."""
        kept = parts[np.abs(parts).sum(axis=1) > 0]
        if len(kept) == 0:
            raise UserError(
                f"the metric {self.NAME} found nothing to measure in {len(parts)} answers",
                hint="Every answer is empty or too short for it.",
                code="nothing-measured",
            )
        return sums_interval(kept, self.value, seed=seed)


class Metric(Figure):
    """Base of every metric of generated answers; subclasses give ``parts`` and ``value``."""

    needs_references: ClassVar[bool] = True

    def refusal(self, unit: Unit) -> str | None:
        """Why this row can never be measured, whatever is answered; None where it can."""
        return "it has no reference answer" if self.needs_references and not unit.references else None

    def parts(self, units: Sequence[Unit]) -> Array:
        """Numbers of each unit ``[U, S]`` that add up over units."""
        raise NotImplementedError

    def answers_needed(self) -> int:
        """How many answers to each prompt there have to be."""
        return 1

    def check(self, units: Sequence[Unit]) -> None:
        """Raise ``UserError`` (``unmeasurable-row``) for the first of ``units`` that can never be measured."""
        for number, unit in enumerate(units, start=1):
            reason = self.refusal(unit)
            if reason:
                raise UserError(
                    f"the metric {self.NAME} cannot measure row {number} ('{unit.prompt[-60:]}'): {reason}",
                    hint="Mend or remove the row, or choose another metric (`tunesmith metrics`).",
                    code="unmeasurable-row",
                )

    def estimate(self, units: Sequence[Unit], *, seed: int = 0) -> Estimate:
        """The figure of ``units`` with its 95% interval; ``UserError``: ``unmeasurable-row``, ``nothing-measured``."""
        self.check(units)
        return self.interval(self.parts(units), seed=seed)


class MeanMetric(Metric):
    """A mean over units of ``score``, itself a mean over the unit's answers."""

    def score(self, answer: str, unit: Unit) -> float:
        """The score of one answer; not a number where the answer carries none."""
        raise NotImplementedError

    def parts(self, units: Sequence[Unit]) -> Array:
        """``(score, 1)``, or ``(0, 0)`` for a unit without a score."""
        return mean_parts([mean(self.score(answer, unit) for answer in unit.answers) for unit in units])

    def value(self, sums: Array) -> Array:
        """Sum over count."""
        return ratio(sums)

    def interval(self, parts: Array, *, seed: int = 0) -> Estimate:
        """Wilson's for shares, else redrawn."""
        kept = parts[parts[:, 1] > 0]
        if len(kept) and np.isin(kept[:, 0], (0.0, 1.0)).all():
            return share_interval(int(kept[:, 0].sum()), len(kept))
        return super().interval(kept, seed=seed)


def best(scores: Iterable[float]) -> float:
    """The largest of an answer's scores against several references; 0 where there is none."""
    return max(scores, default=0.0)


def mean(scores: Iterable[float]) -> float:
    """The mean of what is a number; not a number where nothing is."""
    numbers = [score for score in scores if not math.isnan(score)]
    return math.fsum(numbers) / len(numbers) if numbers else math.nan


def mean_parts(scores: Sequence[float]) -> Array:
    """``[U, 2]``: score and 1, both 0 where the score is not a number."""
    values = np.asarray(scores, dtype=np.float64)
    counted = ~np.isnan(values)
    return np.stack([np.where(counted, values, 0.0), counted.astype(np.float64)], axis=1)


def ratio(sums: Array) -> Array:
    """``sums[..., 0] / sums[..., 1]``, not a number where that divides by 0."""
    below = sums[..., 1]
    return np.where(below > 0, sums[..., 0] / np.where(below > 0, below, 1.0), np.nan)
