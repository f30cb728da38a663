"""How alike two texts are: ROUGE-L, the F measure of their longest common subsequence of words (Lin 2004, section 3).

    F = 2 · LCS(a, b) / (|a| + |b|)

Words are those of ``metrics.normalise``. What two texts share in any order bounds what they share in order, so most
comparisons end at a count of words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tunesmith.metrics.normalise import tokens


@dataclass(frozen=True)
class Words:
    """A text as words, and how often each stands in it."""

    order: Sequence[str]
    counts: Counter[str]

    @classmethod
    def of(cls, text: str) -> Words:
        """The words of ``text``."""
        order = tokens(text)
        return cls(order, Counter(order))


def rouge_l(first: Words, second: Words) -> float:
    """From 0 (no word in common) to 1 (the same words in the same order)."""
    total = len(first.order) + len(second.order)
    return 2.0 * _common(first.order, second.order) / total if total else 1.0


class Pool:
    """Texts that a new one must be unlike."""

    def __init__(self, texts: Sequence[str] = ()) -> None:
        self._texts = [Words.of(text) for text in texts]

    def add(self, text: str) -> None:
        """Keep ``text``."""
        self._texts.append(Words.of(text))

    def holds_like(self, text: str, threshold: float) -> bool:
        """Whether a kept text is more than ``threshold`` like ``text``."""
        words = Words.of(text)
        return any(_at_most(words, other) > threshold and rouge_l(words, other) > threshold for other in self._texts)


def _at_most(first: Words, second: Words) -> float:
    total = len(first.order) + len(second.order)
    return 2.0 * (first.counts & second.counts).total() / total if total else 1.0


def _common(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence, a row of the table at a time."""
    above = [0] * (len(second) + 1)
    for word in first:
        row = [0]
        for place, other in enumerate(second):
            row.append(above[place] + 1 if word == other else max(above[place + 1], row[-1]))
        above = row
    return above[-1]
