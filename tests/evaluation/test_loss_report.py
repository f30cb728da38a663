"""Loss of held-out rows against transformers' own, and its invariances."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from families import VOCABULARY, tiny
from tunesmith.contracts.batch import Example
from tunesmith.evaluation.loss import LossReport, Sums, evaluate_loss, microbatches
from tunesmith.models.policy import CausalPolicy
from tunesmith.objectives.sft import Sft

LENGTHS = (9, 3, 14, 6, 6, 11)


def examples() -> list[Example]:
    """Six sequences of two sources; the second has no trained token."""
    rng = np.random.default_rng(0)
    found = []
    for row, length in enumerate(LENGTHS):
        trained = rng.random(length) < 0.6
        trained[0], trained[-1] = True, True  # the first token has nothing before it and must not count
        found.append(Example(rng.integers(3, VOCABULARY, length, dtype=np.int32), trained & (row != 1), row, row % 2))
    return found


def reference(model: torch.nn.Module, example: Example) -> tuple[float, int, int]:
    """Summed nll, tokens and hits of one example, by plain transformers in float64."""
    ids = torch.tensor(example.ids.astype(np.int64))
    with torch.no_grad():
        logits = model(ids[None]).logits[0].double()
    log_p = logits.log_softmax(-1)
    targets = [i for i in range(1, len(ids)) if example.trained[i]]
    nll = -sum(log_p[i - 1, ids[i]].item() for i in targets)
    return nll, len(targets), sum(int(logits[i - 1].argmax() == ids[i]) for i in targets)


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_loss_equals_transformers(family: str) -> None:
    model = tiny(family)
    expected = [reference(model.eval(), example) for example in examples()]
    report = evaluate_loss(CausalPolicy(model), Sft(), examples(), tokens_per_microbatch=16)
    np.testing.assert_allclose(report.sums.nll, [nll for nll, _, _ in expected], atol=1e-4)
    assert report.sums.tokens.tolist() == [tokens for _, tokens, _ in expected]
    assert report.sums.hits.tolist() == [hits for _, _, hits in expected]
    total = sum(tokens for _, tokens, _ in expected)
    mean = sum(nll for nll, _, _ in expected) / total
    assert report.nll.value == pytest.approx(mean, abs=1e-5)
    assert report.perplexity.value == pytest.approx(math.exp(mean), rel=1e-5)
    assert report.perplexity.low == pytest.approx(math.exp(report.nll.low), rel=1e-9)
    assert report.nll.n == 5, "a sequence without a trained token is no unit"


def test_the_order_and_the_microbatches_change_nothing() -> None:
    policy = CausalPolicy(tiny("llama"))
    policy.train()
    rows = examples()
    seen: list[int] = []
    whole = evaluate_loss(policy, Sft(), rows, tokens_per_microbatch=1000, on_progress=seen.append)
    assert seen == [6]
    single = evaluate_loss(policy, Sft(), rows, tokens_per_microbatch=1)
    backwards = evaluate_loss(policy, Sft(), rows[::-1], tokens_per_microbatch=20)
    np.testing.assert_allclose(single.sums.nll, whole.sums.nll, atol=1e-5)
    np.testing.assert_allclose(backwards.sums.nll[::-1], whole.sums.nll, atol=1e-5)
    assert backwards.sums.rows.tolist() == [5, 4, 3, 2, 1, 0]
    assert policy.training
    assert all(parameter.grad is None for parameter in policy.parameters())


def test_sources_are_told_apart_and_add_up() -> None:
    report = evaluate_loss(CausalPolicy(tiny("llama")), Sft(), examples(), tokens_per_microbatch=64)
    by_source = report.by_source()
    assert set(by_source) == {0, 1}
    assert by_source[1].sums.rows.tolist() == [1, 3, 5]
    first_two = evaluate_loss(CausalPolicy(tiny("llama")), Sft(), examples()[:2], tokens_per_microbatch=64)
    assert set(first_two.by_source()) == {0}, "a source without a trained token has no loss"
    total = sum(part.nll.value * part.sums.tokens.sum() for part in by_source.values())
    assert total == pytest.approx(report.nll.value * report.sums.tokens.sum(), rel=1e-9)


def test_the_same_sequences_are_known_by_their_tokens_and_targets() -> None:
    policy = CausalPolicy(tiny("llama"))
    rows = examples()
    sums = evaluate_loss(policy, Sft(), rows, tokens_per_microbatch=64).sums
    again = Sums.from_dict(json.loads(json.dumps(sums.as_dict())))
    assert sums.same_sequences(again)
    assert not sums.same_sequences(evaluate_loss(policy, Sft(), rows[::-1], tokens_per_microbatch=64).sums)
    word = rows[0].ids.copy()
    word[3] += 1
    marks = rows[0].trained.copy()
    marks[3:5] = [True, False] if marks[4] else [False, True]
    for changed in (replace(rows[0], ids=word), replace(rows[0], trained=marks)):
        other = evaluate_loss(policy, Sft(), [changed, *rows[1:]], tokens_per_microbatch=64).sums
        assert not sums.same_sequences(other)
    assert max(sums.content) < 2**53


def test_a_model_that_knows_nothing_has_the_vocabulary_as_perplexity() -> None:
    model = tiny("llama")
    torch.nn.init.zeros_(model.lm_head.weight)
    report = evaluate_loss(CausalPolicy(model), Sft(), examples(), tokens_per_microbatch=64)
    assert report.perplexity.value == pytest.approx(VOCABULARY, rel=1e-5)
    assert (report.nll.low, report.nll.high) == pytest.approx((math.log(VOCABULARY),) * 2, rel=1e-5)


def test_nothing_to_measure_is_an_error() -> None:
    policy = CausalPolicy(tiny("llama"))
    with pytest.raises(ValueError, match="at least one unit"):
        evaluate_loss(policy, Sft(), [], tokens_per_microbatch=64)
    with pytest.raises(ValueError, match="at least one unit"):
        LossReport.of(evaluate_loss(policy, Sft(), examples(), tokens_per_microbatch=64).sums.of_source(7))


def test_microbatches_keep_the_budget_and_every_sequence() -> None:
    assert list(microbatches([3, 9, 2, 9, 1], 10)) == [[1], [3], [0, 2, 4]]
    assert list(microbatches([50, 2], 10)) == [[0], [1]]
    assert list(microbatches([], 10)) == []
