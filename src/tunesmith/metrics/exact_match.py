"""Exact match: 1 where answer and reference are equal after normalisation, else 0 (SQuAD; see ``normalise``)."""

from __future__ import annotations

from typing import ClassVar

from tunesmith.metrics.base import MeanMetric, Unit, best
from tunesmith.metrics.normalise import tokens


class ExactMatch(MeanMetric):
    """The share of answers equal to a reference, leaving aside case, punctuation, English articles and blanks."""

    NAME: ClassVar[str] = "exact_match"
    paper: ClassVar[str] = "Rajpurkar et al. 2016, arXiv:1606.05250"

    def score(self, answer: str, unit: Unit) -> float:
        """1.0 or 0.0."""
        return best(exact_match(answer, reference) for reference in unit.references)


def exact_match(answer: str, reference: str) -> float:
    """1.0 or 0.0. Blanks between Chinese or Japanese characters do not count."""
    return float(tokens(answer) == tokens(reference))
