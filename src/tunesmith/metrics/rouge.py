"""ROUGE: what of the reference the answer holds, as n-grams or as longest common subsequence (Lin 2004, W04-1013).

    P = common / n-grams of the answer, R = common / n-grams of the reference, F = 2PR / (P + R)
    ROUGE-L: common = length of the longest common subsequence of words

Of several references the best counts. Without a stemmer; for ASCII text equal to the `rouge-score` library.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from tunesmith.metrics.base import MeanMetric, Unit, best
from tunesmith.metrics.words import ngrams, words


class Rouge1(MeanMetric):
    """ROUGE-1: how much of the reference's single words the answer holds, in 0 to 1 (F-measure).

    Every Chinese or Japanese character is a word.
    """

    NAME: ClassVar[str] = "rouge1"
    paper: ClassVar[str] = "Lin 2004, ACL W04-1013"
    n: ClassVar[int | Literal["L"]] = 1

    def score(self, answer: str, unit: Unit) -> float:
        """The best F over the references."""
        return best(rouge(words(answer), words(reference), self.n) for reference in unit.references)


class Rouge2(Rouge1):
    """ROUGE-2: how much of the reference's pairs of words the answer holds, in 0 to 1 (F-measure)."""

    NAME: ClassVar[str] = "rouge2"
    n: ClassVar[int | Literal["L"]] = 2


class RougeL(Rouge1):
    """ROUGE-L: the longest common subsequence of words of answer and reference, in 0 to 1 (F-measure)."""

    NAME: ClassVar[str] = "rougeL"
    n: ClassVar[int | Literal["L"]] = "L"


def rouge(answer: Sequence[str], reference: Sequence[str], n: int | Literal["L"]) -> float:
    """F of two lists of words in 0..1."""
    if n == "L":
        common, given, wanted = common_subsequence(answer, reference), len(answer), len(reference)
    else:
        said, right = ngrams(answer, n), ngrams(reference, n)
        common, given, wanted = (said & right).total(), said.total(), right.total()
    return 2 * common / (given + wanted) if common else 0.0


def common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence, a bit a word (Hyyrö 2004): a zero in ``row`` is a word matched."""
    places: dict[str, int] = {}
    for at, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << at
    every = (1 << len(one)) - 1
    row = every
    for word in other:
        matched = row & places.get(word, 0)
        row = ((row + matched) | (row - matched)) & every
    return len(one) - row.bit_count()
