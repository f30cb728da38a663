"""Answers are scored row by row; before and after are compared by pairs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from math import inf
from typing import Any

import numpy as np
import pytest

from families import tiny
from tunesmith.contracts.data import Prompt
from tunesmith.contracts.sampler import Ask
from tunesmith.errors import UserError
from tunesmith.evaluation.answers import AnswerReport, evaluate_answers
from tunesmith.evaluation.comparison import Comparison, as_dict, compare_answers, compare_loss
from tunesmith.evaluation.loss import LossReport, Sums
from tunesmith.generation.generator import Answer, Finished, Generator
from tunesmith.metrics.intervals import Estimate, mean_interval, paired_difference, ratio_interval, resampled
from tunesmith.models.policy import CausalPolicy

WORDS = {3: "the", 4: "red", 5: "cat", 6: "dog", 7: "Rome."}


def decode(ids: list[int]) -> str:
    return " ".join(WORDS[token] for token in ids)


class Scripted:
    """A generator whose answers are known; they finish in reverse order."""

    def __init__(self, answers: list[Answer]) -> None:
        self.answers = answers

    def sample_each(self, asks: Sequence[Ask]) -> Iterator[Finished]:
        for number in reversed(range(len(asks))):
            yield Finished(number, self.answers[number])


def report(*answers: list[int], stop: int | None = 2) -> AnswerReport:
    prompts = [Prompt([9], reference, f"q{i}") for i, reference in enumerate(["red cat", "rome", "a dog"])]
    scripted: Any = Scripted([Answer(ids, stop) for ids in answers])
    return evaluate_answers(scripted, prompts, decode=decode)


def test_rows_and_means() -> None:
    found = report([3, 4, 5], [7], [4])
    assert [row.answer for row in found.rows] == ["the red cat", "Rome.", "red"]
    assert [row.scores["exact_match"] for row in found.rows] == [1.0, 1.0, 0.0]
    assert found.exact_match.value == pytest.approx(2 / 3)
    assert report([4], [7], [6]).f1.value == pytest.approx((2 / 3 + 1 + 1) / 3)
    assert found.stopped.value == 1.0
    assert report([4], [7], [6], stop=None).stopped.value == 0.0
    assert found.rows[0].as_dict() == {
        "prompt": "q0",
        "reference": "red cat",
        "answer": "the red cat",
        "stopped": True,
        "scores": {"exact_match": 1.0, "f1": 1.0},
    }


def test_a_real_generator_answers_its_own_references() -> None:
    generator = Generator(CausalPolicy(tiny("llama")), stop_ids=[2], max_new_tokens=5)
    asked = [[5, 6], [7], [8, 9, 10]]
    own = [" ".join(map(str, answer.ids)) for answer in generator.generate(asked)]
    prompts = [Prompt(ids, reference, "") for ids, reference in zip(asked, own, strict=True)]
    done: list[int] = []
    found = evaluate_answers(generator, prompts, decode=lambda ids: " ".join(map(str, ids)), on_progress=done.append)
    assert found.exact_match.value == 1.0
    assert done == [1, 2, 3]


def test_no_prompt_is_told() -> None:
    with pytest.raises(UserError) as told:
        evaluate_answers(Generator(CausalPolicy(tiny("llama")), stop_ids=[]), [], decode=decode)
    assert told.value.code == "no-prompts"


def losses(nll: list[float], hits: list[float]) -> LossReport:
    count = len(nll)
    numbers = np.arange(count)
    return LossReport.of(Sums(np.array(nll), np.full(count, 10.0), np.array(hits), numbers * 0, numbers, numbers))


def test_loss_is_compared_by_pairs() -> None:
    before = losses([10.0, 200.0, 30.0, 40.0, 50.0], [1, 9, 3, 4, 5])
    after = losses([15.0, 205.0, 35.0, 45.0, 55.0], [1, 9, 3, 4, 5])
    nll, ppl, accuracy = compare_loss("retention", before, after)
    # every sequence lost 5 nats over 10 tokens: no spread, however different the sequences are
    assert nll.change is not None
    assert (nll.change.value, nll.change.low, nll.change.high) == pytest.approx((0.5, 0.5, 0.5))
    assert nll.verdict == "worse"
    assert ppl.change is None
    assert ppl.verdict is None
    assert accuracy.verdict == "same"
    gained = compare_loss("task", after, before)[0]
    assert gained.verdict == "better"
    with pytest.raises(ValueError, match="same examples"):
        compare_loss("task", before, losses([1.0], [1]))


def test_answers_are_compared_by_pairs() -> None:
    before, after = report([6], [6], [5]), report([4, 5], [7], [6])
    exact, f1 = compare_answers("task", before, after)
    assert exact.change == Estimate(1.0, 1.0, 1.0, 3)
    assert (exact.verdict, f1.verdict) == ("unknown", "unknown")
    assert compare_answers("task", None, after)[0].verdict is None
    other = evaluate_answers(Scripted([Answer([4])]), [Prompt([9], "x", "other")], decode=decode)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="same prompts"):
        compare_answers("task", before, other)


def test_comparisons_as_data() -> None:
    comparisons = [
        *compare_loss("held-out", losses([20.0], [1]), losses([10.0], [2])),
        *compare_loss("[own] text", None, losses([10.0], [2])),
    ]
    data = json.loads(json.dumps(as_dict(comparisons)))
    assert data["held-out"]["nll"]["change"] == {"value": -1.0, "low": None, "high": None, "n": 1}
    assert data["held-out"]["nll"]["verdict"] == "unknown"
    assert data["held-out"]["perplexity"]["after"]["low"] == 0.0
    assert data["held-out"]["perplexity"]["after"]["high"] is None
    assert data["[own] text"]["nll"]["before"] is None


@pytest.mark.parametrize(("rows", "verdict"), [(1, "unknown"), (4, "unknown"), (5, "better"), (50, "better")])
def test_a_few_rows_never_decide(rows: int, verdict: str) -> None:
    change = Estimate(0.1, 0.05, 0.2, rows)
    assert Comparison("a", "f1", None, change, change, higher_is_better=True).verdict == verdict


def test_one_row_has_no_interval() -> None:
    labels = resampled(lambda _: {"f1": 0.25, "none": float("nan")}, 1)
    for one in (ratio_interval([3.0], [2.0]), paired_difference([1.0], [2.5]), mean_interval([1.5])):
        assert one == Estimate(1.5, -inf, inf, 1)
        assert one.as_dict() == {"value": 1.5, "low": None, "high": None, "n": 1}
    assert labels == {"f1": Estimate(0.25, -inf, inf, 1)}
    assert mean_interval([1.0]).low > 0.2, "Wilson's interval speaks of a single success as well"


def test_a_change_that_may_be_nothing_is_the_same() -> None:
    value = Estimate(0.5, 0.4, 0.6, 10)
    change = Estimate(0.1, -0.01, 0.2, 10)
    assert Comparison("a", "f1", value, value, change, higher_is_better=True).verdict == "same"
