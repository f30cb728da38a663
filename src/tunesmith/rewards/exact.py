"""Exact match: 1 where the answer is the reference, else 0.

The trap: a loose comparison drops signs and decimal points (see ``metrics.normalise``), so numbers need ``numeric``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tunesmith.contracts.reward import Sample
from tunesmith.metrics.exact_match import exact_match
from tunesmith.rewards.base import RewardConfig, require_rows


class Exact(RewardConfig):
    """1 where the answer equals the reference answer of its row, else 0."""

    NAME: ClassVar[str] = "exact"
    paper: ClassVar[str] = "Rajpurkar et al. 2016, arXiv:1606.05250 (the loose comparison)"

    after: str = ""
    """Compare only what follows the last occurrence of this text, such as `Answer:`; an answer without it scores 0."""
    loose: bool = False
    """Ignore case, punctuation and English articles, as SQuAD's script does. Otherwise only blanks at both ends and
    the width of those between words are ignored."""

    def score(self, samples: Sequence[Sample]) -> list[float]:
        """1.0 or 0.0 a sample."""
        require_rows(self.NAME, samples, self.refusal)
        return [self._one(sample.answer, sample.reference or "") for sample in samples]

    def refusal(self, sample: Sample) -> str | None:
        """A row needs a reference answer."""
        return None if sample.reference and sample.reference.strip() else "it has no reference answer"

    def _one(self, answer: str, reference: str) -> float:
        _, found, said = answer.rpartition(self.after) if self.after else ("", "all", answer)
        if not found:
            return 0.0
        return exact_match(said, reference) if self.loose else float(said.split() == reference.split())
