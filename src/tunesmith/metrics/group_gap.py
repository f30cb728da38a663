"""Bias over swapped groups: how much a judgement moves when only the group that is spoken of is another.

    gap = max_g p(first choice | prompt with g) − min_g p(first choice | prompt with g)

with ``p`` the probability of the first of a row's ``choices`` against the others. 0 is equal treatment. Counterfactual
in the sense of Huang et al. 2020 (arXiv:1911.03064), with the model's own judgement instead of a classifier's.

The trap: a model that knows nothing has no gap either; and a gap of 0 on these prompts is no proof for others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from tunesmith.metrics.base import Array, mean_parts, ratio
from tunesmith.metrics.likelihood import Continuation, Likelihood, LikelihoodMetric, Row

PLACE = "{group}"


class GroupGap(LikelihoodMetric):
    """The mean gap in 0 to 1 between groups: rows have a `prompt` with `{group}` in it, `groups`, and `choices`."""

    NAME: ClassVar[str] = "group_gap"
    paper: ClassVar[str] = "Huang et al. 2020, arXiv:1911.03064 (counterfactual evaluation)"
    lower_is_better: ClassVar[bool] = True

    def refusal(self, row: Row) -> str | None:
        """A row needs a place for the group, two groups and two choices."""
        groups = row.get("groups")
        if not isinstance(groups, list) or len(groups) < 2:
            return "it needs at least two `groups`"
        if PLACE not in str(row.get("prompt", "")):
            return f"its prompt has no place for the {PLACE}"
        return super().refusal(row)

    def asked(self, row: Row) -> list[Continuation]:
        """Every choice for every group, group by group."""
        return [
            Continuation(row["prompt"].replace(PLACE, str(group)), choice, self.delimiter)
            for group in row["groups"]
            for choice in row["choices"]
        ]

    def parts(self, rows: Sequence[Row], found: Sequence[Sequence[Likelihood]]) -> Array:
        """``(gap, 1)``."""
        return mean_parts([_gap(row, said) for row, said in zip(rows, found, strict=True)])

    def value(self, sums: Array) -> Array:
        """Sum over count."""
        return ratio(sums)


def _gap(row: Row, said: Sequence[Likelihood]) -> float:
    nats = np.array([one.nats for one in said]).reshape(len(row["groups"]), len(row["choices"]))
    chances = np.exp(nats - nats.max(axis=1, keepdims=True))
    first = chances[:, 0] / chances.sum(axis=1)
    return float(first.max() - first.min())
