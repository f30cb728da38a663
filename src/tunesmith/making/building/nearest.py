"""Texts that share the most rare words: what looks alike and may still be something else.

    alike(a, b) = Σ_{w ∈ a ∩ b} log(n / n_w),        n texts, n_w of them with the word w       (Spärck Jones 1972)

Words in more than ``COMMON`` texts are passed over, so that a search costs no more than its rare words.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from tunesmith.data.curate.texts import words

COMMON = 500


class Nearest:
    """An index of ``texts``."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._words = [frozenset(words(text)) for text in texts]
        self._places: dict[str, list[int]] = defaultdict(list)
        for number, found in enumerate(self._words):
            for word in found:
                self._places[word].append(number)

    def to(self, number: int, count: int) -> list[int]:
        """At most ``count`` other texts that share rare words with text ``number``, the most alike first."""
        score: Counter[int] = Counter()
        for word in sorted(self._words[number]):
            places = self._places[word]
            if len(places) <= COMMON:
                weight = math.log(len(self._words) / len(places))
                for other in places:
                    score[other] += weight  # type: ignore[assignment]
        score.pop(number, None)
        return sorted(score, key=lambda other: (-score[other], other))[:count]
