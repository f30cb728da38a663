"""Rows measured one by one with a number, of which the worst go: bounds, or a share of the rows.

The measuring is resumable chunk by chunk, because it is what takes long; what is chosen by it is decided at the end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from tunesmith.contracts.data import Message
from tunesmith.contracts.reward import Sample
from tunesmith.data.candidates import asked
from tunesmith.data.curate.base import Arrays, Drop, Item, SketchStep
from tunesmith.data.curate.vectors import numbers_of

Share = Annotated[float, Field(gt=0.0, lt=1.0)]


class MeasuredStep(SketchStep):
    """Base of steps that measure rows with a model."""

    WHAT: ClassVar[str]
    """What is measured, in a word or two."""
    WORST: ClassVar[str] = "low"
    """Which end is bad: ``low`` or ``high``."""

    least: float | None = None
    """Rows that measure less are dropped."""
    most: float | None = None
    """Rows that measure more are dropped."""
    worst: Share | None = None
    """How large a share of the rows that can be measured is dropped, the worst first; null for none."""

    @model_validator(mode="after")
    def _decides(self) -> Self:
        if self.least is None and self.most is None and self.worst is None:
            raise ValueError("say which rows go: `least`, `most`, or `worst` (a share of the rows)")
        return self

    @property
    def asks_model(self) -> bool:
        """It does."""
        return True

    def measure(self, items: Sequence[Item]) -> Sequence[float | None]:
        """A number for each of ``items``; None where there is nothing to measure, and the row stays."""
        raise NotImplementedError

    def sketch(self, items: Sequence[Item]) -> Arrays:
        """Numbers of items and what they measure; NaN for those that stay."""
        values = self.measure(items) if items else ()
        return {
            "number": np.array([item.number for item in items], dtype=np.int64),
            "value": np.array([math.nan if value is None else value for value in values], dtype=np.float64),
        }

    def pick(self, sketches: Sequence[Arrays], folder: Path) -> Mapping[int, Drop]:
        """Rows beyond a bound, and the worst share of all that were measured."""
        numbers = numbers_of(sketches)
        values = np.concatenate([np.empty(0), *(one["value"] for one in sketches)])
        found: dict[int, Drop] = {}
        measured = np.flatnonzero(~np.isnan(values))
        badness = values[measured] if self.WORST == "high" else -values[measured]
        worst = measured[np.argsort(-badness, kind="stable")[: round((self.worst or 0.0) * len(measured))]]
        for why, rows in (
            (f"its {self.WHAT} is below {self.least}", np.flatnonzero(values < _or(self.least, -math.inf))),
            (f"its {self.WHAT} is above {self.most}", np.flatnonzero(values > _or(self.most, math.inf))),
            (f"its {self.WHAT} is among the worst {self.worst}", worst),
        ):
            for row in rows.tolist():
                found.setdefault(int(numbers[row]), Drop(why, shown=f"{values[row]:.3g}"))
        return found


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


def sample_of(item: Item) -> Sample | None:
    """The last answer of a conversation with its question; None for rows without one."""
    messages: tuple[Message, ...] = asked(item.record) if item.record.messages is not None else ()
    if not item.answer.strip() or not messages:
        return None
    return Sample(item.prompt, item.answer, messages=messages)
