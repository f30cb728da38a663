"""Objectives over pairs: hand-made sums, counts, measurements, and loss and gradient against a plain model."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rated import example, said, terms, total

from families import tiny
from reference import preference as slow
from tiny_base import make_tokenizer
from tunesmith.contracts.batch import Example
from tunesmith.contracts.data import Candidate, Message, Record
from tunesmith.contracts.policy import Outputs
from tunesmith.data.chat import ChatEncoder
from tunesmith.data.formats.base import BadRow
from tunesmith.models.policy import CausalPolicy
from tunesmith.objectives.cpo import Cpo
from tunesmith.objectives.dpo import Dpo
from tunesmith.objectives.orpo import Orpo
from tunesmith.objectives.pairs import MEASURED, chosen_pairs
from tunesmith.objectives.simpo import Simpo

L3 = math.log(3.0)
PAIRS = [example(4, 3, 5, row=0), example(2, 2, 2, row=1), example(7, 6, 1, row=2)]
LENGTHS = [(3, 5), (2, 2), (6, 1)]
SUMS = [-4.0, -6.0, -1.5, -1.0, -9.0, -2.5]
REFERENCE = [-5.0, -5.5, -1.5, -1.5, -7.0, -2.0]
RATIOS = [(1.0, -0.5), (0.0, 0.5), (-2.0, -0.5)]
OBJECTIVES: dict[str, Any] = {
    "dpo": Dpo(),
    "dpo with all": Dpo(losses={"sigmoid": 0.8, "ipo": 0.1, "nca": 0.3, "sft": 0.2}, smoothing=0.1, beta=0.3),
    "dpo a token": Dpo(losses="hinge", length_normalised=True, beta=2.0, divergence="jensen-shannon"),
    "simpo": Simpo(sft=0.5),
    "cpo": Cpo(smoothing=0.1),
    "orpo": Orpo(),
}


def test_dpo_by_hand() -> None:
    """β = ½, log-ratios (2 log 3, 0): −log σ(log 3) = log 4/3; rewards log 3 and 0."""
    objective, pairs = Dpo(beta=0.5), PAIRS[:1]
    batch = objective.collate(pairs)
    outputs, batch = said(batch, [2 * L3 - 5.0, -3.0], reference=[-5.0, -3.0])
    found = terms(objective, outputs, batch, pairs)
    assert found == pytest.approx(
        {
            "sigmoid": math.log(4 / 3),
            "accuracy": 1.0,
            "margin": L3,
            "length_margin": -2.0,
            "chosen_reward": L3,
            "rejected_reward": 0.0,
            "chosen_logprob": 2 * L3 - 5.0,
            "rejected_logprob": -3.0,
        }
    )


def test_a_tie_is_half_right_and_a_reversed_pair_wrong() -> None:
    """At its start a model is its reference: all margins are 0, and it prefers nothing."""
    objective = Dpo()
    batch = objective.collate(PAIRS)
    outputs, start = said(batch, SUMS, reference=SUMS)
    found = terms(objective, outputs, start, PAIRS)
    assert found["accuracy"] == 0.5
    assert found["margin"] == 0.0
    assert found["sigmoid"] == pytest.approx(math.log(2.0))
    outputs, later = said(batch, SUMS, reference=REFERENCE)
    assert terms(objective, outputs, later, PAIRS)["accuracy"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("name", ["sigmoid", "ipo", "nca", "apo-down", "sppo"])
@pytest.mark.parametrize("a_token", [False, True])
def test_dpo_is_the_mean_over_pairs(name: Any, a_token: bool) -> None:
    objective = Dpo(losses=name, beta=0.3, smoothing=0.1, length_normalised=a_token)
    outputs, batch = said(objective.collate(PAIRS), SUMS, reference=REFERENCE)
    wanted = [
        slow.loss(name, won / (long if a_token else 1), lost / (short if a_token else 1), beta=0.3, smoothing=0.1)
        for (won, lost), (long, short) in zip(RATIOS, LENGTHS, strict=True)
    ]
    assert terms(objective, outputs, batch, PAIRS)[name] == pytest.approx(sum(wanted) / 3)


def test_losses_add_by_weight_and_imitation_is_a_mean_over_chosen_tokens() -> None:
    """3 + 2 + 6 chosen tokens; their log-probabilities sum to −14.5."""
    objective = Dpo(losses={"sigmoid": 0.8, "sft": 0.2}, beta=0.3)
    outputs, batch = said(objective.collate(PAIRS), SUMS, reference=REFERENCE)
    pairs = sum(slow.loss("sigmoid", *one, beta=0.3, smoothing=0.0) for one in RATIOS) / 3
    assert terms(objective, outputs, batch, PAIRS)["sft"] == pytest.approx(14.5 / 11)
    assert float(total(objective, outputs, batch, PAIRS).detach()) == pytest.approx(0.8 * pairs + 0.2 * 14.5 / 11)


@pytest.mark.parametrize(
    ("objective", "weight"), [(Simpo(sft=0.5), 0.5), (Cpo(sft=2.0), 2.0), (Orpo(), 1.0)], ids=["simpo", "cpo", "orpo"]
)
def test_imitation_is_of_the_chosen_answers_by_its_weight(objective: Any, weight: float) -> None:
    outputs, batch = said(objective.collate(PAIRS), SUMS)
    (one,) = [term for term in objective.loss(outputs, batch) if term.name == "sft"]
    assert one.values.tolist() == pytest.approx([4.0, 1.5, 9.0])
    assert (one.weight, objective.counts(PAIRS)["sft"]) == (weight, 11.0)


def test_simpo_by_hand() -> None:
    """β = 2, γ = ½, means −4/3 and −6/5, −3/4 and −1/2, −3/2 and −5/2."""
    objective = Simpo(beta=2.0, gamma=0.5)
    outputs, batch = said(objective.collate(PAIRS), SUMS)
    margins = [2 * (-4 / 3 + 6 / 5), 2 * (-3 / 4 + 1 / 2), 2 * (-3 / 2 + 5 / 2)]
    wanted = sum(-math.log(slow.sigma(margin - 0.5)) for margin in margins) / 3
    found = terms(objective, outputs, batch, PAIRS)
    assert found["simpo"] == pytest.approx(wanted)
    assert found["margin"] == pytest.approx(sum(margins) / 3)
    assert "sft" not in found


def test_cpo_by_hand() -> None:
    objective = Cpo(beta=0.3, smoothing=0.1)
    outputs, batch = said(objective.collate(PAIRS), SUMS)
    wanted = sum(slow.loss("sigmoid", *SUMS[at : at + 2], beta=0.3, smoothing=0.1) for at in (0, 2, 4)) / 3
    assert float(total(objective, outputs, batch, PAIRS).detach()) == pytest.approx(wanted + 14.5 / 11)


def test_orpo_by_hand() -> None:
    """One pair with p = 3/4 and 1/2 a token: odds 3 and 1, −log σ(log 3) = log 4/3."""
    objective, pairs = Orpo(weight=0.5), PAIRS[:1]
    outputs, batch = said(objective.collate(pairs), [3 * math.log(0.75), 5 * math.log(0.5)])
    found = terms(objective, outputs, batch, pairs)
    assert found["odds_ratio"] == pytest.approx(math.log(4 / 3))
    assert found["sft"] == pytest.approx(-math.log(0.75))
    assert float(total(objective, outputs, batch, pairs).detach()) == pytest.approx(
        0.5 * math.log(4 / 3) - math.log(0.75)
    )


@pytest.mark.parametrize("name", OBJECTIVES)
def test_measurements_move_nothing(name: str) -> None:
    objective = OBJECTIVES[name]
    outputs, batch = said(objective.collate(PAIRS), SUMS, reference=REFERENCE)
    measured = [term for term in objective.loss(outputs, batch) if term.name in MEASURED]
    assert [term.name for term in measured] == list(MEASURED) == list(objective.metrics)
    assert all(term.weight == 0.0 and not term.values.requires_grad for term in measured)
    assert {term.name for term in objective.loss(outputs, batch)} <= set(objective.counts(PAIRS))


def plain(model: Any, one: Example, answer: int) -> torch.Tensor:
    """The log-probability of an answer by transformers, after its own copy of the beginning."""
    edges = (*one.branches, len(one))
    begin = one.branches[0]
    ids = torch.tensor([*one.ids[:begin].tolist(), *one.ids[edges[answer] : edges[answer + 1]].tolist()])
    log_p = torch.log_softmax(model(input_ids=ids[None]).logits[0], dim=-1)
    return log_p[torch.arange(begin - 1, len(ids) - 1), ids[begin:]].sum()


def slow_loss(objective: Any, model: Any, reference: Any) -> torch.Tensor:
    """The loss of ``PAIRS`` from sums over each answer alone."""
    sums = torch.stack([plain(model, one, answer) for one in PAIRS for answer in (0, 1)])
    batch = objective.collate(PAIRS)
    with torch.no_grad():
        told = torch.stack([plain(reference, one, answer) for one in PAIRS for answer in (0, 1)])
    sizes = torch.bincount(batch.readout.unit).float()
    spread = (sums / sizes)[batch.readout.unit]
    beside = {"reference": Outputs(logprob=(told / sizes)[batch.readout.unit])}
    return total(objective, Outputs(logprob=spread), replace(batch, beside=beside), PAIRS)


@pytest.mark.parametrize("pieces", [1, 2, 3])
@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_shared_questions_give_the_loss_and_gradient_of_answers_alone(family: str, name: str, pieces: int) -> None:
    """float32 sums in another order: 1e-5 of the gradient's norm."""
    objective = OBJECTIVES[name]
    model, reference = tiny(family).requires_grad_(True), tiny(family, seed=7)
    slow_loss(objective, model, reference).backward()
    policy, frozen = CausalPolicy(tiny(family).requires_grad_(True)), CausalPolicy(tiny(family, seed=7))
    counts = objective.counts(PAIRS)
    found = 0.0
    for piece in [PAIRS[start::pieces] for start in range(pieces)]:
        batch = objective.collate(piece)
        with torch.no_grad():
            beside = {"reference": frozen(batch, objective.want)}
        batch = replace(batch, beside=beside)
        for term in objective.loss(policy(batch, objective.want), batch):
            part = term.weight * term.values.sum() / counts[term.name]
            if term.weight:
                part.backward(retain_graph=True)
                found += float(part.detach())
    with torch.no_grad():
        wanted = float(slow_loss(objective, model, reference))
    assert found == pytest.approx(wanted, rel=1e-5)
    ours, other = (
        torch.cat([value.grad.flatten() for value in one.parameters() if value.grad is not None])
        for one in (policy.model, model)
    )
    assert float((ours - other).norm()) <= 1e-5 * float(other.norm())


def record(*answers: str, scores: tuple[float | None, ...]) -> Record:
    candidates = (Candidate((Message("assistant", text),), one) for text, one in zip(answers, scores, strict=True))
    return Record(messages=(Message("user", "Count."),), candidates=tuple(candidates))


def test_rankings_become_pairs() -> None:
    assert chosen_pairs([None] * 3, "pairs") == [(0, 1), (0, 2), (1, 2)]
    assert chosen_pairs([None] * 3, "best") == [(0, 1), (0, 2)]
    assert chosen_pairs([3.0, 2.0, 2.0], "pairs") == [(0, 1), (0, 2)]
    with pytest.raises(BadRow, match="no answer of the row has a higher score"):
        chosen_pairs([1.0, 1.0], "pairs")
    with pytest.raises(BadRow, match="lower score"):
        chosen_pairs([1.0, 2.0], "pairs")
    encoder = ChatEncoder.build(make_tokenizer())
    row = record("one", "two", "three", scores=(None, None, None))
    said_first = [
        encoder.decode(one.ids[one.branches[0] : one.branches[1]]) for one in Dpo(ranked="pairs").encode(row, encoder)
    ]
    assert said_first == ["one", "one", "two"]
    assert len(Dpo(ranked="best").encode(row, encoder)) == 2


def test_equal_answers_are_dropped_with_their_reason() -> None:
    encoder = ChatEncoder.build(make_tokenizer())
    for objective in (Dpo(), Simpo(), Orpo(), Cpo()):
        with pytest.raises(BadRow, match="the same answer"):
            objective.encode(record("one", "one", scores=(None, None)), encoder)


@pytest.mark.peer
def test_trl_gives_the_same_cpo_and_orpo() -> None:
    """Their functions take sums (CPO) or means (ORPO, SimPO) of log-probabilities."""
    cpo = pytest.importorskip("trl.experimental.cpo.cpo_trainer", reason="needs the `peers` extra").CPOTrainer
    orpo = pytest.importorskip("trl.experimental.orpo.orpo_trainer").ORPOTrainer
    sums = torch.tensor(SUMS).view(3, 2)
    means = sums / torch.tensor(LENGTHS)
    device = SimpleNamespace(device="cpu")
    for name, options in (("sigmoid", {"smoothing": 0.1}), ("hinge", {}), ("ipo", {})):
        objective = Cpo(form=name, beta=0.3, sft=0.0, **options)  # type: ignore[arg-type]
        outputs, batch = said(objective.collate(PAIRS), SUMS)
        self = SimpleNamespace(
            alpha=0.0, accelerator=device, loss_type=name, beta=0.3, label_smoothing=options.get("smoothing", 0.0)
        )
        theirs, *_ = cpo.cpo_loss(self, *sums.unbind(1))
        assert float(total(objective, outputs, batch, PAIRS).detach()) == pytest.approx(float(theirs.mean()), rel=1e-5)
    outputs, batch = said(Simpo().collate(PAIRS), SUMS)
    self = SimpleNamespace(
        alpha=0.0, accelerator=device, loss_type="simpo", beta=2.0, simpo_gamma=1.0, label_smoothing=0.0
    )
    theirs, *_ = cpo.cpo_loss(self, *means.unbind(1))
    assert float(total(Simpo(), outputs, batch, PAIRS).detach()) == pytest.approx(float(theirs.mean()), rel=1e-5)
    losses, *_ = orpo.odds_ratio_loss(SimpleNamespace(beta=0.1, accelerator=device), *means.unbind(1))
    ours = terms(Orpo(), *said(Orpo().collate(PAIRS), SUMS), PAIRS)["odds_ratio"]
    assert 0.1 * ours == pytest.approx(-float(losses.mean()), rel=1e-5)
