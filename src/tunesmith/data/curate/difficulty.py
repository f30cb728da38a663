"""Instruction-following difficulty: how much a question helps to tell its answer.

    IFD(Q, A) = s(A | Q) / s(A)                                  (Li et al. 2023, arXiv:2308.12032, equation 3)

with s the mean surprise in nats of the answer's tokens under a reference model. At IFD ≥ 1 the question does not help:
the two do not fit. Below, a large IFD is an instruction that is hard to follow, and Li et al. keep the largest.

The trap: the reference must be able to follow some instructions; to a model that reads no question all IFD are near 1.
"""

from __future__ import annotations

from typing import ClassVar

from tunesmith.data.curate.models import Surprise
from tunesmith.data.curate.surprise import SurpriseStep


class Difficulty(SurpriseStep):
    """Drops rows whose instruction does not help to tell the answer, or is the easiest to follow (IFD)."""

    NAME: ClassVar[str] = "difficulty"
    WHAT: ClassVar[str] = "instruction-following difficulty"
    paper: ClassVar[str] = "https://arxiv.org/abs/2308.12032"

    most: float | None = 1.0
    """Rows that measure more are dropped: at 1 the question does not help to tell the answer."""

    def value(self, one: Surprise) -> float | None:
        """Surprise after the question over surprise alone."""
        return one.asked / one.alone if one.alone > 0 else None
