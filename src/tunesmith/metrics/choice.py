"""Multiple choice by likelihood: is the right choice the one that the model finds most likely (Brown et al. 2020)?

    acc       argmax_k  log p(choice_k | prompt) = right
    acc_norm  argmax_k  log p(choice_k | prompt) / characters of choice_k = right
    mc2       Σ_{k true} p(choice_k | prompt) / Σ_k p(choice_k | prompt)          (Lin et al. 2022, TruthfulQA)

The numbers are those of EleutherAI's evaluation harness. The trap: the sum of log-likelihoods prefers short choices, so
that ``acc`` of choices of different lengths measures their lengths too; ``acc_norm`` takes them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from tunesmith.metrics.base import Array, mean_parts, ratio
from tunesmith.metrics.intervals import Estimate, share_interval
from tunesmith.metrics.likelihood import Likelihood, LikelihoodMetric, Row, options_of, right_of


class Acc(LikelihoodMetric):
    """The share of rows whose right choice is the likeliest: multiple choice without generating (`acc` of lm-eval)."""

    NAME: ClassVar[str] = "acc"
    paper: ClassVar[str] = "Brown et al. 2020, arXiv:2005.14165 (section 2.4)"

    def refusal(self, row: Row) -> str | None:
        """A row needs choices and the right one among them."""
        wrong = super().refusal(row)
        return wrong or ("its `answer` names none of its choices" if right_of(row) is None else None)

    def scores(self, row: Row, found: Sequence[Likelihood]) -> Array:
        """What the choices are ranked by ``[K]``."""
        return np.array([one.nats for one in found])

    def parts(self, rows: Sequence[Row], found: Sequence[Sequence[Likelihood]]) -> Array:
        """``(right, 1)``; of equal scores the first choice is taken, as in lm-eval."""
        pairs = zip(rows, found, strict=True)
        return mean_parts([float(int(np.argmax(self.scores(row, said))) == right_of(row)) for row, said in pairs])

    def value(self, sums: Array) -> Array:
        """Sum over count."""
        return ratio(sums)

    def interval(self, parts: Array, *, seed: int = 0) -> Estimate:
        """Wilson's for a share."""
        return share_interval(int(parts[:, 0].sum()), len(parts))


class AccNorm(Acc):
    """The same with every choice's log-likelihood divided by its characters (`acc_norm` of lm-eval)."""

    NAME: ClassVar[str] = "acc_norm"

    def scores(self, row: Row, found: Sequence[Likelihood]) -> Array:
        """Log-likelihood a character of the choice (without the delimiter); competing contexts share their text."""
        said = [row["continuation"]] * len(found) if "contexts" in row else options_of(row)
        return super().scores(row, found) / np.array([float(len(choice)) for choice in said])


class Mc2(LikelihoodMetric):
    """The share of probability that true choices get: rows have `labels`, 1 or 0 a choice (`mc2` of TruthfulQA)."""

    NAME: ClassVar[str] = "mc2"
    paper: ClassVar[str] = "Lin et al. 2022, arXiv:2109.07958 (TruthfulQA)"

    def refusal(self, row: Row) -> str | None:
        """A row needs a label for every choice, true and false ones."""
        labels = row.get("labels")
        if not isinstance(labels, list) or len(labels) != len(options_of(row)) or set(labels) != {0, 1}:
            return "it needs `labels`, 1 or 0 for each of its `choices`, and both of them"
        return super().refusal(row)

    def parts(self, rows: Sequence[Row], found: Sequence[Sequence[Likelihood]]) -> Array:
        """``(probability of true choices, 1)``."""
        shares = []
        for row, said in zip(rows, found, strict=True):
            nats = np.array([one.nats for one in said])
            chances = np.exp(nats - nats.max())
            shares.append(float(chances[np.array(row["labels"]) == 1].sum() / chances.sum()))
        return mean_parts(shares)

    def value(self, sums: Array) -> Array:
        """Sum over count."""
        return ratio(sums)
