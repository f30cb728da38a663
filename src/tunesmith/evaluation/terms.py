"""Held-out examples by the objective's own terms: its loss and everything it measures (accuracy, margin …).

Every term is a ratio of sums over examples, so its interval redraws whole examples (pairs, groups), and two models that
saw the same examples are compared in pairs.

Shape legend: ``E`` examples, in the order they came in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.objective import Objective
from tunesmith.contracts.policy import Outputs
from tunesmith.evaluation.loss import content_of, microbatches
from tunesmith.evaluation.rated import BIAS, CALIBRATION, rated
from tunesmith.generation.inference import inference
from tunesmith.metrics.intervals import Estimate, mean_interval, ratio_interval, resampled
from tunesmith.models.policy import CausalPolicy

Beside = Callable[[Sequence[Example], Batch], Outputs]
LOSS = "loss"


@dataclass(frozen=True)
class TermSums:
    """``values`` and ``counts`` float64 ``[E]`` of each term by name, its ``weights`` in the loss (0: measured only).

    ``sources`` and ``content`` int64 ``[E]``: data sources, and digests of tokens and targets.
    """

    values: Mapping[str, NDArray[np.float64]]
    counts: Mapping[str, NDArray[np.float64]]
    weights: Mapping[str, float]
    lower_is_better: frozenset[str]
    sources: NDArray[np.int64]
    content: NDArray[np.int64]
    undirected: frozenset[str] = frozenset()
    """Terms of which neither more nor less is better."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON; ``terms`` is what it is recognised by."""
        return {
            "terms": {name: values.tolist() for name, values in self.values.items()},
            "counts": {name: values.tolist() for name, values in self.counts.items()},
            "weights": dict(self.weights),
            "lower_is_better": sorted(self.lower_is_better),
            "sources": self.sources.tolist(),
            "content": self.content.tolist(),
            "undirected": sorted(self.undirected),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> TermSums:
        """The inverse of :meth:`as_dict`."""
        return cls(
            {name: np.array(values, dtype=np.float64) for name, values in value["terms"].items()},
            {name: np.array(values, dtype=np.float64) for name, values in value["counts"].items()},
            value["weights"],
            frozenset(value["lower_is_better"]),
            np.array(value["sources"], dtype=np.int64),
            np.array(value["content"], dtype=np.int64),
            frozenset(value.get("undirected", ())),
        )

    def same_sequences(self, other: object) -> bool:
        """Whether both are of the same examples and terms, in the same order."""
        return (
            isinstance(other, TermSums)
            and np.array_equal(self.content, other.content)
            and self.values.keys() == other.values.keys()
        )

    def of_source(self, source: int) -> TermSums:
        """The examples of one data source."""
        chosen = self.sources == source
        return replace(
            self,
            values={name: values[chosen] for name, values in self.values.items()},
            counts={name: values[chosen] for name, values in self.counts.items()},
            sources=self.sources[chosen],
            content=self.content[chosen],
        )

    def value(self, name: str) -> float:
        """A term over all examples."""
        count = float(self.counts[name].sum())
        return float(self.values[name].sum()) / count if count else float("nan")

    @property
    def loss(self) -> float:
        """The objective's loss over all examples: its terms by weight."""
        return sum(weight * self.value(name) for name, weight in self.weights.items() if weight)


@dataclass(frozen=True)
class TermReport:
    """The loss and every term of ``sums``, with 95% intervals."""

    sums: TermSums

    def values(self) -> dict[str, float]:
        """The numbers alone, as training watches them."""
        return {LOSS: self.sums.loss, **{name: self.sums.value(name) for name in self.sums.values if name != LOSS}}

    def metrics(self) -> Mapping[str, Estimate]:
        """The estimates by name; the loss has its own where it is a single term."""
        sums = self.sums
        found = {name: _estimate(sums.values[name], sums.counts[name]) for name in sums.values}
        in_loss = [name for name, weight in sums.weights.items() if weight]
        if len(in_loss) == 1 and LOSS not in found:
            weight = sums.weights[in_loss[0]]
            found = {LOSS: found.pop(in_loss[0]).mapped(lambda value: weight * value), **found}
        more = rated(sums.values)
        return found if more is None else found | resampled(more, len(sums.content))

    def by_source(self) -> dict[int, TermReport]:
        """The same of every data source."""
        return {source: TermReport(self.sums.of_source(source)) for source in np.unique(self.sums.sources).tolist()}

    def change_from(self, before: TermReport) -> dict[str, Estimate]:
        """After minus before of every metric, paired by example."""
        new, old = self.sums, before.sums
        changes = {
            name: ratio_interval(new.values[name] - old.values[name], new.counts[name])
            for name in new.values
            if np.array_equal(new.counts[name], old.counts[name])
        }
        in_loss = [name for name, weight in new.weights.items() if weight]
        if len(in_loss) == 1 and in_loss[0] in changes and LOSS not in changes:
            weight = new.weights[in_loss[0]]
            changes[LOSS] = changes.pop(in_loss[0]).mapped(lambda value: weight * value)
        more, past = rated(new.values), rated(old.values)
        return changes if more is None else changes | resampled(more, len(new.content), before=past)

    def higher_is_better(self, name: str) -> bool | None:
        """Which way a metric improves; None where neither way is better."""
        if name == BIAS or name in self.sums.undirected:
            return None
        return not (name in (LOSS, CALIBRATION) or name in self.sums.lower_is_better)


def _estimate(values: NDArray[np.float64], counts: NDArray[np.float64]) -> Estimate:
    """Of one term; a share of examples, such as pairs ordered rightly, is one also where all or none are."""
    return mean_interval(values) if (counts == 1.0).all() else ratio_interval(values, counts)


def evaluate_terms(
    policy: CausalPolicy,
    objective: Objective,
    examples: Sequence[Example],
    *,
    beside: Mapping[str, Beside] | None = None,
    tokens_per_microbatch: int,
    batch_size: int = 16,
) -> TermReport:
    """Measure ``examples`` without gradients and without dropout.

    An objective whose rows are coupled is asked about ``batch_size`` examples at a time, in their order.
    """
    if objective.decomposes:
        pieces = list(microbatches([len(example) for example in examples], tokens_per_microbatch))
    else:
        whole = list(range(len(examples)))
        pieces = [whole[at : at + batch_size] for at in range(0, len(whole), batch_size)]
    values: dict[str, NDArray[np.float64]] = {}
    weights: dict[str, float] = {}
    for numbers in pieces:
        piece = [examples[number] for number in numbers]
        batch = objective.collate(piece).to(policy.device)
        batch = replace(batch, beside={name: (beside or {})[name](piece, batch) for name in objective.beside})
        with inference(policy):
            terms = objective.loss(policy(batch, objective.want), batch)
        for term in terms:
            found = values.setdefault(term.name, np.zeros(len(examples)))
            found[numbers] = term.values.detach().double().cpu().numpy()
            weights[term.name] = term.weight
    counted = [objective.counts([example]) for example in examples]
    return TermReport(
        TermSums(
            values,
            {name: np.array([count[name] for count in counted]) for name in values},
            weights,
            objective.lower_is_better,
            np.array([example.source for example in examples], dtype=np.int64),
            np.array([content_of(example) for example in examples], dtype=np.int64),
            objective.undirected,
        )
    )
