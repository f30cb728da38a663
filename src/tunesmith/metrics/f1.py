"""Token F1: the overlap of answer and reference as bags of normalised tokens (SQuAD; see ``normalise``).

With ``c`` tokens in common (with multiplicity), ``P = c / |answer|``, ``R = c / |reference|``, ``F1 = 2PR / (P + R)``,
which is ``2c / (|answer| + |reference|)``. Where one of the two has no token, F1 is 1 if both have none, else 0.
"""

from __future__ import annotations

from collections import Counter
from typing import ClassVar

from tunesmith.metrics.base import MeanMetric, Unit, best
from tunesmith.metrics.normalise import tokens


class TokenF1(MeanMetric):
    """How far the words of an answer and its reference are the same ones, in 0 to 1; the best of several references."""

    NAME: ClassVar[str] = "f1"
    paper: ClassVar[str] = "Rajpurkar et al. 2016, arXiv:1606.05250"

    def score(self, answer: str, unit: Unit) -> float:
        """F1."""
        return best(token_f1(answer, reference) for reference in unit.references)


def token_f1(answer: str, reference: str) -> float:
    """F1 in 0..1."""
    given, wanted = tokens(answer), tokens(reference)
    if not given or not wanted:
        return float(given == wanted)
    common = (Counter(given) & Counter(wanted)).total()
    return 2 * common / (len(given) + len(wanted))
