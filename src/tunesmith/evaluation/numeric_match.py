"""Numeric match: the share of answers whose number is the reference's, read as the reward ``numeric`` reads it."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from tunesmith.contracts.reward import Sample
from tunesmith.metrics.base import MeanMetric, Unit, best
from tunesmith.rewards.numbers import answer_number
from tunesmith.rewards.numeric import Numeric


class NumericMatch(MeanMetric):
    r"""The share of answers whose number equals a reference's: `#### 18`, `\boxed{}`, "the answer is", else the last.

    Thousands separators, fractions, percent and powers of ten are understood; values are compared exactly.
    """

    NAME: ClassVar[str] = "numeric"
    paper: ClassVar[str] = "Cobbe et al. 2021, arXiv:2110.14168 (GSM8K's `####`)"

    tolerance: Annotated[float, Field(ge=0.0)] = 0.0
    """How far the answer may be from the reference, as a share of it (of 1 for references below 1)."""

    def refusal(self, unit: Unit) -> str | None:
        """A row needs references with numbers in them."""
        numberless = [text for text in unit.references if answer_number(text) is None]
        if numberless:
            return f"its reference answer has no number: '{numberless[0][:40]}'"
        return super().refusal(unit)

    def score(self, answer: str, unit: Unit) -> float:
        """1.0 or 0.0."""
        reward = Numeric(tolerance=self.tolerance)
        return best(reward.score([Sample(unit.prompt, answer, reference=text)])[0] for text in unit.references)
