"""Reward models: by hand, the slow float64 sums with gradients, where scores are read, and beside TRL's own."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rated import example, terms, total

from reference.preference import difference, sigma
from tiny_base import make_tokenizer
from tiny_task import bert_tokenizer, tiny_task
from tunesmith.contracts.batch import Batch
from tunesmith.contracts.data import Candidate, Message, Record
from tunesmith.contracts.policy import Outputs
from tunesmith.data.chat import ChatEncoder
from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.base import BadRow
from tunesmith.errors import UserError
from tunesmith.models.policy import CausalPolicy
from tunesmith.objectives.reward import Reward

L3 = math.log(3.0)
PAIRS = [example(4, 3, 5, row=at, read=True, extras={"scores": [2.0, 1.5]}) for at in range(2)]
RANKED = example(3, 2, 4, 3, row=5, read=True, extras={"scores": [3.0, 2.0, 0.0]})
R = [0.5, -1.0, 2.0]


def scored(batch: Batch, rewards: list[float]) -> Outputs:
    return Outputs(scores=torch.tensor(rewards, dtype=torch.float64)[:, None].requires_grad_())


def test_a_pair_by_hand() -> None:
    """r = (log 3, 0): −log σ(log 3) = log 4/3; and (0, 0): log 2, a tie."""
    objective = Reward(steps=False)
    batch = objective.collate(PAIRS)
    outputs = scored(batch, [L3, 0.0, 0.0, 0.0])
    assert terms(objective, outputs, batch, PAIRS) == pytest.approx(
        {
            "pairs": (math.log(4 / 3) + math.log(2)) / 2,
            "accuracy": 0.75,
            "margin": L3 / 2,
            "length_margin": -2.0,
            "reward": L3 / 4,
        }
    )
    held = Reward(steps=False, margins=True, centering=0.5)
    wanted = (-math.log(sigma(L3 - 0.5)) - math.log(sigma(-0.5))) / 2 + 0.5 * L3**2 / 2
    assert float(total(held, outputs, batch, PAIRS).detach()) == pytest.approx(wanted)


def test_the_worse_answer_higher_is_wrong() -> None:
    objective = Reward(steps=False)
    batch = objective.collate(PAIRS)
    assert terms(objective, scored(batch, [0.0, 1.0, 1.0, 3.0]), batch, PAIRS)["accuracy"] == 0.0


def slow_pairs(r: list[float], *, margins: bool, centering: float) -> float:
    pairs = [(0, 1), (0, 2), (1, 2)]
    scores = [3.0, 2.0, 0.0] if margins else [0.0] * 3
    apart = sum(-math.log(sigma(r[one] - r[two] - scores[one] + scores[two])) for one, two in pairs)
    return (apart + centering * sum((r[one] + r[two]) ** 2 for one, two in pairs)) / 3


def slow_ranking(r: list[float]) -> float:
    """Choosing the best of three, then the better of the two left."""
    e = [math.exp(one) for one in r]
    return -math.log(e[0] / sum(e)) - math.log(e[1] / (e[1] + e[2]))


@pytest.mark.parametrize("margins", [False, True])
@pytest.mark.parametrize("form", ["pairs", "plackett-luce"])
def test_a_ranking_and_its_gradient_are_the_slow_sum(form: Any, margins: bool) -> None:
    if form == "plackett-luce" and margins:
        pytest.skip("rankings have no margins")
    objective = Reward(steps=False, form=form, margins=margins, centering=0.01 if form == "pairs" else 0.0)
    batch = objective.collate([RANKED])
    outputs = scored(batch, R)
    loss = total(objective, outputs, batch, [RANKED])

    def slow(r: list[float]) -> float:
        return slow_ranking(r) if form != "pairs" else slow_pairs(r, margins=margins, centering=0.01)

    assert float(loss.detach()) == pytest.approx(slow(R))
    loss.backward()
    assert outputs.scores is not None
    assert outputs.scores.grad is not None
    slopes = [difference(lambda x, at=at: slow([*R[:at], x, *R[at + 1 :]]), R[at]) for at in range(3)]  # type: ignore[misc]
    assert outputs.scores.grad[:, 0].tolist() == pytest.approx(slopes, abs=1e-8)


def test_of_two_answers_both_forms_are_one() -> None:
    found = [Reward(steps=False, form=form) for form in ("pairs", "plackett-luce")]  # type: ignore[arg-type]
    losses = []
    for objective in found:
        batch = objective.collate(PAIRS)
        losses.append(float(total(objective, scored(batch, [0.3, -0.2, 1.0, 4.0]), batch, PAIRS).detach()))
    assert losses[0] == pytest.approx(losses[1])


def test_ties_are_no_pair_and_rankings_of_different_sizes_mix() -> None:
    tied = replace(RANKED, labels=np.array([0, 1, 1], dtype=np.int32))
    objective = Reward(steps=False)
    batch = objective.collate([tied, PAIRS[0]])
    found = terms(objective, scored(batch, [*R, 1.0, 0.0]), batch, [tied, PAIRS[0]])
    first = (-math.log(sigma(1.5)) - math.log(sigma(-1.5))) / 2
    assert found["pairs"] == pytest.approx((first - math.log(sigma(1.0))) / 2)
    assert found["accuracy"] == pytest.approx((0.5 + 1.0) / 2)


def test_steps_by_hand() -> None:
    """σ = (3/4, 1/2) against (1, 1/4): log 4/3 and log 2, a mean over steps."""
    objective = Reward(steps=True)
    labels = np.array([1.0, 0.25], dtype=np.float32).view(np.int32)
    one = replace(example(3, 4, row=0), trained=np.array([0, 0, 0, 1, 0, 0, 1], dtype=bool), labels=labels, branches=())
    batch = objective.collate([one])
    assert batch.readout.rows.tolist() == [3, 6]
    found = terms(objective, scored(batch, [L3, 0.0]), batch, [one])
    assert found == pytest.approx({"steps": (math.log(4 / 3) + math.log(2)) / 2, "accuracy": 1.0})


def test_the_score_is_read_at_the_last_token_by_transformers_itself() -> None:
    objective = Reward(steps=False)
    policy = CausalPolicy(tiny_task("llama", objective.head()))
    batch = objective.collate(PAIRS)
    with torch.no_grad():
        ours = policy(batch, objective.want).scores[:, 0]
        alone = []
        policy.drive("padded")  # transformers' own attention
        for one in PAIRS:
            begin = one.branches[0]
            for start, end in pairwise((*one.branches, len(one))):
                ids = torch.tensor([*one.ids[:begin].tolist(), *one.ids[start:end].tolist()])
                alone.append(policy.model(input_ids=ids[None]).logits[0, 0])
    assert torch.allclose(ours, torch.stack(alone), atol=1e-5)


def record(*answers: str, scores: tuple[float | None, ...] = ()) -> Record:
    scores = scores or (None,) * len(answers)
    candidates = (Candidate((Message("assistant", text),), one) for text, one in zip(answers, scores, strict=True))
    return Record(messages=(Message("user", "Count."),), candidates=tuple(candidates))


def test_answers_are_read_at_their_end_of_turn() -> None:
    encoder = ChatEncoder.build(make_tokenizer())
    (one,) = Reward(steps=False).encode(record("one two", "one three", "four", scores=(2.0, 1.0, 1.0)), encoder)
    ends = [at for at, on in enumerate(one.trained) if on]
    assert {encoder.tokens.token(one.ids[end]) for end in ends} == {"<|im_end|>"}
    assert one.labels == [0, 1, 1]
    assert one.extras == {"scores": [2.0, 1.0, 1.0]}
    assert len(one.branches) == 3


def test_what_rows_are_decides_itself() -> None:
    stepped = FORMATS.load("steps").read({"prompt": "2 + 2?", "steps": ["4", "so 4"], "labels": [1, 0]})
    assert Reward().learn([stepped], max_tokens=64) == {"steps": True}
    assert Reward().learn([record("a", "b")], max_tokens=64) == {"steps": False}
    assert Reward(steps=False).learn([stepped], max_tokens=64) == {}
    encoder = ChatEncoder.build(make_tokenizer())
    (one,) = Reward(steps=True).encode(stepped, encoder)
    assert np.array(one.labels, dtype=np.int32).view(np.float32).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("objective", "row", "reason"),
    [
        (Reward(steps=False), record("a", "a"), "the same answer"),
        (Reward(steps=False), record("a", ""), "empty"),
        (Reward(steps=False), record("a"), "1 rated answer"),
        (Reward(steps=False), record("a", "b", scores=(1.0, 1.0)), "no answer of the row has a higher score"),
        (Reward(steps=False), record("a", "b", scores=(1.0, 2.0)), "the lower one"),
        (Reward(steps=True), record("a", "b"), "no answer in labelled steps"),
    ],
)
def test_rows_that_say_nothing_are_dropped(objective: Reward, row: Record, reason: str) -> None:
    with pytest.raises(BadRow, match=reason):
        objective.encode(row, ChatEncoder.build(make_tokenizer()))


def test_an_encoder_is_refused() -> None:
    with pytest.raises(UserError, match="last token"):
        Reward(steps=False).encode(record("a", "b"), ChatEncoder.build(bert_tokenizer(), "auto"))


@pytest.mark.peer
@pytest.mark.parametrize("margins", [False, True])
def test_trl_gives_the_same(margins: bool) -> None:
    trainer = pytest.importorskip("trl.trainer.reward_trainer", reason="needs the `peers` extra").RewardTrainer
    objective = Reward(steps=False, centering=0.01, margins=margins)
    rewards = [0.3, -0.2, 1.0, 4.0]
    batch = objective.collate(PAIRS)
    ours = float(total(objective, scored(batch, rewards), batch, PAIRS).detach())
    same = lambda values: values  # noqa: E731
    self = SimpleNamespace(
        model=SimpleNamespace(training=True),
        args=SimpleNamespace(center_rewards_coefficient=0.01),
        accelerator=SimpleNamespace(gather=same, gather_for_metrics=same),
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
    )
    logits = torch.tensor(rewards).view(2, 2).t().reshape(4, 1)
    inputs: dict[str, Any] = {"attention_mask": torch.ones(4, 1)}
    if margins:
        inputs["margin"] = torch.tensor([0.5, 0.5])
    theirs = trainer.compute_loss(self, lambda **_: SimpleNamespace(logits=logits), inputs)
    assert ours == pytest.approx(float(theirs), rel=1e-5)
