"""Length inside a range, with a linear slope outside it:

    r(n) = max(0, 1 − d(n) / slack) ,    d(n) = max(at_least − n, n − at_most, 0) ,

where ``n`` counts tokens, words or characters. With ``slack`` 0 every answer outside the range scores 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tunesmith.contracts.reward import Sample
from tunesmith.rewards.base import RewardConfig

Count = Annotated[int, Field(ge=0)]


class Length(RewardConfig):
    """1 where the answer's length is in a range, falling to 0 over `slack` outside it."""

    NAME: ClassVar[str] = "length"
    paper: ClassVar[str] = ""

    at_least: Count = 0
    """The shortest good length."""
    at_most: Count | None = None
    """The longest good length; by default there is none."""
    slack: Count = 0
    """How far outside the range the score reaches 0."""
    unit: Literal["tokens", "words", "characters"] = "tokens"
    """What is counted."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.at_least == 0 and self.at_most is None:
            raise ValueError("give at_least, at_most or both")
        if self.at_most is not None and self.at_most < self.at_least:
            raise ValueError(f"at_most ({self.at_most}) is less than at_least ({self.at_least})")
        return self

    def score(self, samples: Sequence[Sample]) -> list[float]:
        """From 0.0 to 1.0 a sample."""
        return [self._one(self._length(sample)) for sample in samples]

    def _length(self, sample: Sample) -> int:
        if self.unit == "tokens":
            return sample.tokens
        return len(sample.answer.split() if self.unit == "words" else sample.answer)

    def _one(self, length: int) -> float:
        outside = max(self.at_least - length, length - (length if self.at_most is None else self.at_most), 0)
        if outside == 0:
            return 1.0
        return max(0.0, 1.0 - outside / self.slack) if self.slack else 0.0
