"""Repetition: the share of an answer's n-grams that it said before (Welleck et al. 2020, there seq-rep-n)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from tunesmith.metrics.base import Array
from tunesmith.metrics.distinct import Distinct


class Repetition(Distinct):
    """The share of runs of `n` words that the answer said before, in 0 to 1: near 1 where a model is in a loop."""

    NAME: ClassVar[str] = "repetition"
    paper: ClassVar[str] = "Welleck et al. 2020, arXiv:1908.04319"
    lower_is_better: ClassVar[bool] = True

    n: Annotated[int, Field(gt=0)] = 4
    """Words in a row (in Chinese and Japanese: characters)."""

    def value(self, sums: Array) -> Array:
        """One minus different over all."""
        return 1.0 - super().value(sums)
