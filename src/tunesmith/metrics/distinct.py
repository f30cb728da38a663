"""distinct-n: the share of an answer's n-grams that are different (Li et al. 2016, N16-1014, there of all answers).

    distinct-n = Σ_u different n-grams of answer u / Σ_u n-grams of answer u

Counted within each answer: over all answers together it falls with their number, so that two suites, or the redrawn
ones of an interval, could not be set side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from tunesmith.metrics.base import Array, Metric, Unit, ratio
from tunesmith.metrics.words import ngrams, words


class Distinct(Metric):
    """The share of different runs of `n` words within answers, in 0 to 1: low where a model repeats itself."""

    NAME: ClassVar[str] = "distinct"
    paper: ClassVar[str] = "Li et al. 2016, ACL N16-1014"
    needs_references: ClassVar[bool] = False

    n: Annotated[int, Field(gt=0)] = 2
    """Words in a row (in Chinese and Japanese: characters)."""

    def parts(self, units: Sequence[Unit]) -> Array:
        """``[U, 2]``: different n-grams and all of them."""
        return np.array([np.sum([unique(answer, self.n) for answer in unit.answers], axis=0) for unit in units])

    def value(self, sums: Array) -> Array:
        """Different over all."""
        return ratio(sums)


def unique(text: str, n: int) -> Array:
    """``[2]``: different n-grams of ``text``, and all of them."""
    found = ngrams(words(text), n)
    return np.array([len(found), found.total()], dtype=np.float64)
