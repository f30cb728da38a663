"""KTO: by hand, the slow float64 sum with gradients, its reference point, and beside TRL's own."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rated import example, said, terms, total

from reference.preference import difference, sigma
from tiny_base import make_tokenizer
from tunesmith.contracts.data import Candidate, Message, Record
from tunesmith.data.chat import ChatEncoder
from tunesmith.data.formats.base import BadRow
from tunesmith.errors import UserError
from tunesmith.objectives import TABLE
from tunesmith.objectives.kto import Kto
from tunesmith.recipe.schema import EarlyStopping

WANTED = [1.0, 0.0, 1.0]
ROWS = [example(4 + at, 3 + at, row=at, extras={"wanted": [one]}) for at, one in enumerate(WANTED)]
# own answer, then that of the next row, of each
SUMS = [-4.0, -6.0, -3.0, -1.0, -9.0, -2.5]
REFERENCE = [-5.0, -6.5, -2.0, -1.5, -7.0, -1.0]
RATIOS, MISMATCHED = [1.0, -1.0, -2.0], [0.5, 0.5, -1.5]


def test_by_hand() -> None:
    """z = max(0, (½ + ½ − 1½) / 3) = 0; β = 1: 1 − σ(1), 1 − σ(1), 1 − σ(−2)."""
    objective = Kto(beta=1.0)
    outputs, batch = said(objective.collate(ROWS), SUMS, reference=REFERENCE)
    found = terms(objective, outputs, batch, ROWS)
    assert found["kto"] == pytest.approx((2 * (1 - sigma(1.0)) + 1 - sigma(-2.0)) / 3)
    assert found["kl"] == 0.0
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["wanted_reward"] == pytest.approx(-0.5)
    assert found["unwanted_reward"] == pytest.approx(-1.0)


@pytest.mark.parametrize("form", ["kto", "apo-zero"])
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_value_and_gradient_are_the_slow_sum(shift: float, form: Any) -> None:
    """The reference point has no gradient: moving a mismatched answer moves nothing."""
    objective = Kto(beta=0.3, wanted_weight=1.5, unwanted_weight=0.5, form=form)
    sums = [one + shift * (at % 2) for at, one in enumerate(SUMS)]
    point = max(0.0, sum(MISMATCHED) / 3 + shift) if form == "kto" else 0.0

    def slow(row: int, ratio: float) -> float:
        sign = 1.0 if WANTED[row] else -1.0
        return (1.5 if WANTED[row] else 0.5) * (1 - sigma(0.3 * sign * (ratio - point))) / 3

    outputs, batch = said(objective.collate(ROWS), sums, reference=REFERENCE)
    loss = total(objective, outputs, batch, ROWS)
    assert float(loss.detach()) == pytest.approx(sum(slow(row, ratio) for row, ratio in enumerate(RATIOS)))
    loss.backward()
    assert outputs.logprob is not None
    assert outputs.logprob.grad is not None
    for row, ratio in enumerate(RATIOS):
        slope = outputs.logprob.grad[batch.readout.unit == 2 * row]
        wanted = difference(lambda x, row=row: slow(row, x), ratio)  # type: ignore[misc]
        assert slope.tolist() == pytest.approx([wanted] * len(slope), abs=1e-9)
        assert not bool(outputs.logprob.grad[batch.readout.unit == 2 * row + 1].any())


def test_every_question_meets_the_answer_of_the_next_row() -> None:
    batch = Kto().collate(ROWS)
    assert batch.main.layout.parents == (-1, 0, 0, -1, 3, 3, -1, 6, 6)
    parts = batch.main.ids.split(batch.main.layout.lengths)
    for row, one in enumerate(ROWS):
        beginning, own, other = parts[3 * row : 3 * row + 3]
        following = ROWS[(row + 1) % 3]
        assert torch.cat([beginning, own]).tolist() == one.ids.tolist()
        assert other.tolist() == following.ids[following.branches[0] :].tolist()


def test_counts_add_up_and_never_divide_by_nothing() -> None:
    objective = Kto()
    whole, singles = objective.counts(ROWS), [objective.counts([one]) for one in ROWS]
    for name, count in whole.items():
        assert count == pytest.approx(sum(one[name] for one in singles))
        assert count > 0
    assert objective.counts(ROWS[1:2])["wanted_reward"] > 0
    assert not objective.decomposes


def record(score: float | None, *, count: int = 1) -> Record:
    candidates = tuple(Candidate((Message("assistant", f"answer {at}"),), score) for at in range(count))
    return Record(messages=(Message("user", "Count."),), candidates=candidates)


def test_rows_are_single_marked_answers() -> None:
    encoder = ChatEncoder.build(make_tokenizer())
    (one,) = Kto().encode(record(1.0), encoder)
    assert one.extras == {"wanted": [1.0]}
    assert one.branches == (one.trained.index(True),)
    for bad in (record(None), record(1.0, count=2)):
        with pytest.raises(BadRow, match="wanted or not"):
            Kto().encode(bad, encoder)


@pytest.mark.parametrize(("scores", "word"), [([1.0, 1.0], "wanted"), ([0.0], "unwanted")])
def test_rows_of_one_kind_are_refused(scores: list[float], word: str) -> None:
    assert Kto().learn([record(1.0), record(0.0)], max_tokens=8) == {}
    with pytest.raises(UserError, match=word) as caught:
        Kto().learn([record(score) for score in scores], max_tokens=8)
    assert caught.value.code == "one-class"


def test_early_stopping_watches_every_measurement_the_right_way() -> None:
    for name in TABLE:
        objective = TABLE.load(name)
        for metric in objective.metrics:
            stopping = EarlyStopping(metric=f"validation_{metric}")
            assert stopping.higher_is_better == (metric not in objective.lower_is_better), (name, metric)


@pytest.mark.peer
@pytest.mark.parametrize("form", ["kto", "apo-zero"])
def test_trl_gives_the_same(form: Any) -> None:
    module = pytest.importorskip("trl.trainer.kto_trainer", reason="needs the `peers` extra")
    objective = Kto(beta=0.3, wanted_weight=1.5, unwanted_weight=0.5, form=form)
    sums = [one + 3.0 * (at % 2) for at, one in enumerate(SUMS)]
    outputs, batch = said(objective.collate(ROWS), sums, reference=REFERENCE)
    ours = total(objective, outputs, batch, ROWS)
    own, other = torch.tensor(sums).view(3, 2).unbind(1)
    told, other_told = torch.tensor(REFERENCE).view(3, 2).unbind(1)
    model = _Says(own)
    same = lambda values: values  # noqa: E731
    self = SimpleNamespace(
        model=model,
        accelerator=SimpleNamespace(device="cpu", gather_for_metrics=same, gather=same),
        aux_loss_enabled=False,
        precompute_ref_logps=True,
        calculate_KL=form == "kto",
        loss_type="kto" if form == "kto" else "apo_zero_unpaired",
        beta=0.3,
        desirable_weight=1.5,
        undesirable_weight=0.5,
        _compute_kl_logps=lambda *_: other,
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
    )
    inputs = {
        "label": torch.tensor(WANTED).bool(),
        "input_ids": torch.zeros(3, 3).long(),
        "attention_mask": torch.ones(3, 3).long(),
        "completion_mask": torch.tensor([[0, 1, 1]] * 3),
        "ref_logps": told,
        "ref_KL_logps": other_told,
    }
    theirs = module.KTOTrainer._compute_loss(self, model, inputs, return_outputs=False)
    assert float(ours.detach()) == pytest.approx(float(theirs), rel=1e-5)


class _Says:
    """A model whose answers have these log-probabilities, spread over two tokens."""

    training = True

    def __init__(self, sums: torch.Tensor) -> None:
        self.sums = sums

    def __call__(self, **_: Any) -> Any:
        nothing = torch.zeros(len(self.sums), 2)
        return SimpleNamespace(
            log_probs=(self.sums / 2)[:, None].expand(-1, 2),
            entropy=nothing,
            mean_logits=nothing,
            is_top1=nothing.bool(),
        )


def test_a_row_without_its_mark_is_a_bug() -> None:
    """Extras travel with their example, in its order."""
    batch = Kto().collate(ROWS[::-1])
    assert np.array_equal(batch.extras["wanted"].numpy(), WANTED[::-1])
    assert replace(ROWS[0], extras={}).extras == {}
