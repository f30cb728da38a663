"""chrF: n-grams of characters, which needs no tokenizer and suits every script (Popović 2015, W15-3049).

    chrF = 100 · (1 + β²) P R / (β² P + R),  β = 2,  P and R the means over n = 1..6 of precision and recall, where
    those are defined, of summed counts

Blanks do not count. Of several references an answer is held against the one it scores best with. Equal to sacrebleu.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from tunesmith.metrics.base import Array, Metric, Unit

ORDER = 6
BETA_SQUARED = 4.0


class Chrf(Metric):
    """chrF2 in 0 to 100: runs of one to six characters that answers share with their references, over all rows.

    No words are needed, so it is right for every script.
    """

    NAME: ClassVar[str] = "chrf"
    paper: ClassVar[str] = "Popović 2015, ACL W15-3049"

    def parts(self, units: Sequence[Unit]) -> Array:
        """``[U, 18]``: of the answer, of the reference, and common, for each n."""
        return np.array([np.sum([_best(one, unit.references) for one in unit.answers], axis=0) for unit in units])

    def value(self, sums: Array) -> Array:
        """chrF of summed counts ``[..., 18]``."""
        given, wanted, common = np.moveaxis(sums.reshape(*sums.shape[:-1], ORDER, 3), -1, 0)
        defined = (given > 0) & (wanted > 0)
        precision, recall = (np.where(defined, common / np.maximum(count, 1.0), 0.0) for count in (given, wanted))
        orders = np.maximum(defined.sum(axis=-1), 1)
        p, r = precision.sum(axis=-1) / orders, recall.sum(axis=-1) / orders
        below = BETA_SQUARED * p + r
        return 100.0 * (1.0 + BETA_SQUARED) * p * r / np.where(below > 0, below, 1.0)


def counts(answer: str, reference: str) -> Array:
    """``[18]`` counts of one pair; an order that the reference is too short for says nothing of the answer."""
    found: list[int] = []
    for n in range(1, ORDER + 1):
        said, right = _ngrams(answer, n), _ngrams(reference, n)
        found += [said.total() if right else 0, right.total(), (said & right).total()]
    return np.array(found, dtype=np.float64)


def _best(answer: str, references: Sequence[str]) -> Array:
    scored = Chrf()
    return max((counts(answer, reference) for reference in references), key=lambda one: float(scored.value(one)))


def _ngrams(text: str, n: int) -> Counter[str]:
    joined = "".join(text.split())
    return Counter(joined[at : at + n] for at in range(len(joined) - n + 1))
