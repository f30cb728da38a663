"""Soft punishment of answers that come near the length limit (DAPO, arXiv:2503.14476, equation 13):

    r(n) = 0                              n ≤ limit − buffer
           (limit − buffer − n) / buffer  limit − buffer < n ≤ limit
           −1                             limit < n

``n`` is the answer's tokens. The trap: a sampler that stops below ``limit`` hides how long the answer would have been,
so an answer that was cut off counts as over the limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from tunesmith.contracts.reward import Sample
from tunesmith.rewards.base import RewardConfig

Tokens = Annotated[int, Field(gt=0)]


class Overlong(RewardConfig):
    """0 for answers well below the limit, falling to -1 at it: add it to what is wanted (DAPO)."""

    NAME: ClassVar[str] = "overlong"
    paper: ClassVar[str] = "Yu et al. 2025, arXiv:2503.14476, equation 13"

    limit: Tokens
    """Tokens from which on the punishment is whole."""
    buffer: Tokens
    """Tokens before the limit over which it grows from 0 to -1."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.buffer > self.limit:
            raise ValueError(f"buffer ({self.buffer}) is more than limit ({self.limit})")
        return self

    def score(self, samples: Sequence[Sample]) -> list[float]:
        """From -1.0 to 0.0 a sample."""
        return [-1.0 if sample.truncated else self._one(sample.tokens) for sample in samples]

    def _one(self, tokens: int) -> float:
        return min(0.0, max(-1.0, (self.limit - self.buffer - tokens) / self.buffer))
