"""Length of answers in words or characters; an empty answer has length 0."""

from __future__ import annotations

from typing import ClassVar, Literal

from tunesmith.metrics.base import MeanMetric, Unit
from tunesmith.metrics.words import words


class Length(MeanMetric):
    """The mean length of answers. A threshold is the most that passes; `at_least` of a task sets the other side."""

    NAME: ClassVar[str] = "length"
    lower_is_better: ClassVar[bool] = True
    needs_references: ClassVar[bool] = False

    unit: Literal["words", "characters"] = "words"
    """What is counted. Every Chinese or Japanese character is a word; blanks are characters."""

    def score(self, answer: str, unit: Unit) -> float:
        """The count."""
        return float(len(words(answer)) if self.unit == "words" else len(answer))
