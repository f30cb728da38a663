"""Perplexity: how surprising answers are to a reference model.

    perplexity = exp(s(A | Q)), s the mean surprise in nats of the answer's tokens after the question

(of a plain text: of all its tokens; Wenzek et al. 2020, CCNet). The traps: it is about the model as much as about the
text (poems, code and other languages surprise), short answers scatter, and both tails are odd: what surprises not at
all is a copy or a formula.
"""

from __future__ import annotations

import math
from typing import ClassVar

from tunesmith.data.curate.models import Surprise
from tunesmith.data.curate.surprise import SurpriseStep


class Perplexity(SurpriseStep):
    """Drops rows by the perplexity of their answers (or plain texts) under a reference model."""

    NAME: ClassVar[str] = "perplexity"
    WHAT: ClassVar[str] = "perplexity"
    WORST: ClassVar[str] = "high"
    paper: ClassVar[str] = "https://arxiv.org/abs/1911.00359"

    def value(self, one: Surprise) -> float:
        """exp of the mean surprise."""
        return math.exp(min(one.asked, 700.0))
