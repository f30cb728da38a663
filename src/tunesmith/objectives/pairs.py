"""What objectives share that compare two answers to one question: how rows become pairs, sums of each, measurements.

A pair is one example with two branches, the better answer first; its beginning is computed once.

Shape legend: ``N`` readout rows, ``U`` answers, ``E`` pairs (``U = 2E``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.data import Encoder, Encoding, Record
from tunesmith.contracts.objective import Term
from tunesmith.data.candidates import branched, compared
from tunesmith.data.formats.base import BadRow
from tunesmith.objectives.base import ObjectiveConfig, by_sequence

if TYPE_CHECKING:
    import torch

SFT = "sft"
"""The name of the term that imitates chosen answers."""
MEASURED = (
    "accuracy",
    "margin",
    "length_margin",
    "chosen_reward",
    "rejected_reward",
    "chosen_logprob",
    "rejected_logprob",
)
Ranked = Literal["pairs", "best"]


@dataclass(frozen=True)
class Both:
    """A number for the chosen and one for the rejected answer of every pair, each ``[E]``."""

    chosen: torch.Tensor
    rejected: torch.Tensor

    def __sub__(self, other: Both) -> Both:
        return Both(self.chosen - other.chosen, self.rejected - other.rejected)

    def __truediv__(self, other: Both) -> Both:
        return Both(self.chosen / other.chosen, self.rejected / other.rejected)

    def scaled(self, factor: float) -> Both:
        """Both times ``factor``."""
        return Both(factor * self.chosen, factor * self.rejected)


class Pairs(ObjectiveConfig):
    """Base of objectives over pairs of answers."""

    formats: ClassVar[tuple[str, ...]] = ("preference", "ranked")
    unit: ClassVar[str] = "pairs"
    metrics: ClassVar[tuple[str, ...]] = MEASURED
    lower_is_better: ClassVar[frozenset[str]] = frozenset({"rejected_reward", "rejected_logprob"})
    undirected: ClassVar[frozenset[str]] = frozenset({"length_margin"})

    ranked: Ranked = "pairs"
    """Of rows with more than two ranked answers: every pair of them, or the best with each other one."""

    def encode(self, record: Record, encoder: Encoder) -> list[Encoding]:
        """An encoding for every pair of the row's answers."""
        compared(record)
        chosen = chosen_pairs([one.score for one in record.candidates], self.ranked)
        answers = encoder.candidates(record)
        return [branched([answers[better], answers[worse]]) for better, worse in chosen]

    def names(self) -> Sequence[str]:
        """Names of the loss's terms, but for ``sft``."""
        raise NotImplementedError

    def counts(self, examples: Sequence[Example]) -> Mapping[str, float]:
        """Pairs of the update; for the imitation of chosen answers, their tokens."""
        pairs = float(len(examples))
        tokens = sum(int(one.trained[one.branches[0] : one.branches[1]].sum()) for one in examples)
        return {**dict.fromkeys((*self.names(), *MEASURED), pairs), SFT: float(tokens)}


def chosen_pairs(scores: Sequence[float | None], ranked: Ranked) -> list[tuple[int, int]]:
    """Places of the better and the worse answer of each pair; answers of one score are no pair."""
    found = [
        (better, worse)
        for better in range(len(scores) if ranked == "pairs" else 1)
        for worse in range(better + 1, len(scores))
        if scores[better] is None or scores[better] != scores[worse]
    ]
    if not found:
        raise BadRow("no answer of the row has a higher score than another")
    if any((scores[better] or 0.0) < (scores[worse] or 0.0) for better, worse in found if scores[better] is not None):
        raise BadRow("the chosen answer has the lower score")
    return found


def sums(values: torch.Tensor, batch: Batch) -> Both:
    """``values [N]`` of the readout rows, summed over each answer."""
    pairs = by_sequence(values, batch).view(batch.examples, 2)
    return Both(pairs[:, 0], pairs[:, 1])


def lengths(batch: Batch) -> Both:
    """Tokens of each answer that are trained."""
    return sums(batch.readout.weights.new_ones(len(batch.readout.rows)), batch)


def measurements(rewards: Both, logprobs: Both, batch: Batch) -> list[Term]:
    """How often the chosen answer has the higher reward (a tie counts half), by how much, how many tokens longer it
    is, and what both have."""
    import torch

    rewards, logprobs = (Both(one.chosen.detach(), one.rejected.detach()) for one in (rewards, logprobs))
    margin = rewards.chosen - rewards.rejected
    right = (1.0 + torch.sign(margin)) / 2.0
    long = lengths(batch)
    values = (
        right,
        margin,
        long.chosen - long.rejected,
        rewards.chosen,
        rewards.rejected,
        logprobs.chosen,
        logprobs.rejected,
    )
    return [Term(name, value, weight=0.0) for name, value in zip(MEASURED, values, strict=True)]
