"""Numeric match: 1 where the answer's number is the reference's, else 0 (``rewards.numbers`` says what is read)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from tunesmith.contracts.reward import Sample
from tunesmith.rewards.base import RewardConfig, require_rows
from tunesmith.rewards.numbers import answer_number


class Numeric(RewardConfig):
    r"""1 where the answer's number equals the reference's, else 0.

    The number is read after `####`, in `\boxed{}`, in `<answer>` tags, after "answer is", else it is the last one.
    Thousands separators, fractions, percent and powers of ten are understood; values are compared exactly.
    """

    NAME: ClassVar[str] = "numeric"
    paper: ClassVar[str] = "Cobbe et al. 2021, arXiv:2110.14168 (GSM8K's `####`)"

    tolerance: Annotated[float, Field(ge=0.0)] = 0.0
    """How far the answer may be from the reference, as a share of it (of 1 for references below 1). 0 is exact: 0.5 is
    1/2, and 0.33 is not 1/3."""

    def score(self, samples: Sequence[Sample]) -> list[float]:
        """1.0 or 0.0 a sample."""
        require_rows(self.NAME, samples, self.refusal)
        return [self._one(sample.answer, sample.reference or "") for sample in samples]

    def refusal(self, sample: Sample) -> str | None:
        """A row needs a reference answer with a number in it."""
        if not sample.reference:
            return "it has no reference answer"
        if answer_number(sample.reference) is None:
            return f"its reference answer has no number: '{sample.reference[:40]}'"
        return None

    def _one(self, answer: str, reference: str) -> float:
        said, right = answer_number(answer), answer_number(reference)
        return float(said is not None and right is not None and said.equals(right, tolerance=self.tolerance))
