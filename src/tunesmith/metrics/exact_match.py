"""Exact match: 1 where answer and reference are equal after normalisation, else 0 (SQuAD; see ``normalise``)."""

from __future__ import annotations

from tunesmith.metrics.normalise import tokens


def exact_match(answer: str, reference: str) -> float:
    """1.0 or 0.0. Blanks between Chinese or Japanese characters do not count."""
    return float(tokens(answer) == tokens(reference))
