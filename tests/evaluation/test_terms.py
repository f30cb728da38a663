"""Held-out examples by the objective's own terms: ratios of sums, however they are cut."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from families import VOCABULARY, tiny
from tunesmith.contracts.batch import Batch, Example
from tunesmith.contracts.objective import Term
from tunesmith.contracts.policy import Outputs
from tunesmith.evaluation.comparison import compare_terms
from tunesmith.evaluation.terms import TermReport, TermSums, evaluate_terms
from tunesmith.models.policy import CausalPolicy
from tunesmith.objectives.base import ObjectiveConfig, by_sequence


class Pairs(ObjectiveConfig):
    """Which of two answers the model finds likelier: a loss a pair, and whether the first wins."""

    NAME: ClassVar[str] = "pairs"
    paper: ClassVar[str] = ""
    unit: ClassVar[str] = "pairs"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)

    def encode(self, record: Any, encoder: Any) -> list[Any]:
        raise NotImplementedError

    def counts(self, examples: Sequence[Example]) -> dict[str, float]:
        return {"pairs": float(len(examples)), "accuracy": float(len(examples))}

    def loss(self, outputs: Outputs, batch: Batch) -> list[Term]:
        assert outputs.logprob is not None
        first, second = by_sequence(outputs.logprob, batch).view(-1, 2).unbind(1)
        margin = first - second
        return [
            Term("pairs", -torch.nn.functional.logsigmoid(margin), 2.0),
            Term("accuracy", (margin > 0).float().detach(), 0.0),
        ]


def rows(count: int, seed: int = 0) -> list[Example]:
    generator = np.random.default_rng(seed)
    found = []
    for row in range(count):
        sizes = generator.integers(2, 6, 3)
        ids = generator.integers(3, VOCABULARY, int(sizes.sum())).astype(np.int32)
        trained = np.arange(len(ids)) >= sizes[0]
        found.append(Example(ids, trained, row, row % 2, branches=(int(sizes[0]), int(sizes[:2].sum()))))
    return found


@pytest.fixture
def policy() -> CausalPolicy:
    torch.manual_seed(0)
    return CausalPolicy(tiny("llama"))


def test_values_do_not_depend_on_how_examples_are_cut(policy: CausalPolicy) -> None:
    examples = rows(12)
    whole = evaluate_terms(policy, Pairs(), examples, tokens_per_microbatch=10_000)
    alone = [evaluate_terms(policy, Pairs(), [one], tokens_per_microbatch=1).values() for one in examples]
    values = whole.values()
    assert values["loss"] == pytest.approx(2.0 * np.mean([one["pairs"] for one in alone]), rel=1e-5)
    assert values["accuracy"] == np.mean([one["accuracy"] for one in alone])
    assert 0.0 < values["accuracy"] < 1.0


def test_a_lone_term_of_the_loss_gives_the_loss_its_interval(policy: CausalPolicy) -> None:
    report = evaluate_terms(policy, Pairs(), rows(12), tokens_per_microbatch=64)
    metrics = report.metrics()
    assert set(metrics) == {"loss", "accuracy"}
    assert metrics["loss"].value == pytest.approx(report.values()["loss"])
    assert metrics["loss"].low < metrics["loss"].value < metrics["loss"].high
    assert metrics["loss"].n == 12


def test_reports_survive_json_and_sources_are_told_apart(policy: CausalPolicy) -> None:
    report = evaluate_terms(policy, Pairs(), rows(12), tokens_per_microbatch=64)
    again = TermReport(TermSums.from_dict(json.loads(json.dumps(report.sums.as_dict()))))
    assert again.values() == report.values()
    assert again.sums.same_sequences(report.sums)
    both = report.by_source()
    assert set(both) == {0, 1}
    mean = np.mean([one.values()["loss"] for one in both.values()])
    assert report.values()["loss"] == pytest.approx(mean)


def test_a_change_is_paired_and_knows_its_direction(policy: CausalPolicy) -> None:
    before = evaluate_terms(policy, Pairs(), rows(12), tokens_per_microbatch=64)
    better = TermReport(
        TermSums(
            {"pairs": before.sums.values["pairs"] - 0.25, "accuracy": before.sums.values["accuracy"]},
            before.sums.counts,
            before.sums.weights,
            frozenset(),
            before.sums.sources,
            before.sums.content,
        )
    )
    found = {one.metric: one for one in compare_terms("task", before, better)}
    change = found["loss"].change
    assert change is not None
    assert (change.value, change.low, change.high) == pytest.approx((-0.5, -0.5, -0.5))
    assert found["loss"].verdict == "better"
    assert found["accuracy"].higher_is_better
    perfect = replace(before.sums, values={name: np.ones(12) for name in before.sums.values})
    sure = TermReport(perfect).metrics()["accuracy"]
    assert (sure.value, sure.low, sure.high) == (1.0, pytest.approx(1 - 3.8415 / 15.8415, rel=1e-4), 1.0), "Wilson's"
    turned = TermReport(replace(better.sums, undirected=frozenset({"pairs", "loss"})))
    moved = next(one for one in compare_terms("task", before, turned) if one.metric == "loss")
    assert (moved.higher_is_better, moved.verdict) == (None, "moved")
    assert TermReport(TermSums.from_dict(turned.sums.as_dict())).higher_is_better("pairs") is None
    assert better.higher_is_better("length_bias") is None
    other = evaluate_terms(policy, Pairs(), rows(12, seed=1), tokens_per_microbatch=64)
    assert not other.sums.same_sequences(before.sums)
