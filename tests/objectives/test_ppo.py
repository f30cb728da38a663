"""PPO as a whole: signals by hand, loss and gradient against a slow reference, tempered policies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from objectives.rollout_batches import examples, flat, lengths, loss_of
from reference.policy_gradient import Answer, policy_loss
from tunesmith.contracts.policy import Outputs
from tunesmith.errors import UserError
from tunesmith.objectives.ppo import Ppo
from tunesmith.objectives.sampled import Scored, Tempered, said

NAMES = ("old", "reference", "advantage", "value", "return")


def test_loss_and_gradient_against_the_reference() -> None:
    rows = examples(names=NAMES)
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(2, sum(lengths()), generator=generator, dtype=torch.float64)
    logprob = (flat(rows, "old") + 0.3 * noise[0]).requires_grad_(True)
    value = (flat(rows, "value") + 0.4 * noise[1]).requires_grad_(True)
    objective = Ppo(value_weight=0.7, entropy_bonus=0.0)
    found = loss_of(objective, rows, logprob, value)

    parts = [flat(rows, name).split(lengths()) for name in ("old", "reference", "advantage")]
    answers = [
        Answer(new, *(part.tolist() for part in numbers))
        for new, *numbers in zip(logprob.split(lengths()), *parts, strict=True)
    ]
    policy = policy_loss(answers, kind="token", normalise="tokens", low=0.2, high=0.2, longest=1)
    errors = torch.zeros((), dtype=torch.float64)
    for new, old, target in zip(value, flat(rows, "value").tolist(), flat(rows, "return").tolist(), strict=True):
        near = old + min(0.2, max(-0.2, float(new) - old))
        held = torch.tensor(near, dtype=torch.float64) if abs(float(new) - old) > 0.2 else new
        errors = errors + max((new - target) ** 2, (held - target) ** 2, key=float) / 2
    wanted = policy + 0.7 * errors / len(value)
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-9)
    mine, theirs = (torch.autograd.grad(loss, (logprob, value)) for loss in (found, wanted))
    torch.testing.assert_close(mine, theirs, rtol=1e-7, atol=1e-9)


def test_a_correction_weighs_the_tokens_of_the_policys_loss_alone() -> None:
    rows, count = examples(names=(*NAMES, "correction")), sum(lengths())
    objective = Ppo()
    outputs = Outputs(logprob=flat(rows, "old").float(), entropy=torch.zeros(count), value=torch.zeros(count))
    batch = objective.collate(rows)
    plain = replace(batch, extras={name: one for name, one in batch.extras.items() if name != "correction"})
    corrected, before = ({term.name: term.values for term in objective.loss(outputs, one)} for one in (batch, plain))
    wanted = -batch.extras["advantage"] * batch.extras["correction"]  # ratios are 1
    example = batch.groups[batch.readout.unit]
    torch.testing.assert_close(corrected["policy"], torch.zeros(len(rows)).index_add(0, example, wanted))
    torch.testing.assert_close(corrected["value"], before["value"])


def scored() -> Scored:
    """Answers of 2 and 1 tokens, rewards 1 and 3; each token went 1 nat from the reference; values as they are."""
    old = np.full(3, -1.0)
    values = np.array([0.5, 0.25, 1.0])
    return Scored(np.array([1.0, 3.0]), np.array([0, 1]), np.array([2, 1]), old, old - 1.0, values)


def test_signals_by_hand() -> None:
    """Rewards a token (−0.1, 0.9, 2.9); γ = λ = 1: to go (0.8, 0.9, 2.9); advantages less values (0.3, 0.65, 1.9)."""
    found = Ppo(lam=1.0, whiten=False).signals(scored(), kl=0.1)
    np.testing.assert_allclose(found["advantage"], [0.3, 0.65, 1.9])
    np.testing.assert_allclose(found["return"], [0.8, 0.9, 2.9])
    white = Ppo(lam=1.0).signals(scored(), kl=0.1)
    np.testing.assert_allclose(white["return"], [0.8, 0.9, 2.9])  # only advantages are whitened
    assert white["advantage"].mean() == pytest.approx(0, abs=1e-9)


def test_it_wants_a_value_head() -> None:
    objective = Ppo()
    assert objective.more_heads() == {"value": 1}
    assert objective.want.value and objective.want.logprob and objective.want.entropy
    assert not objective.beside["reference"].value
    assert Ppo(kl=0.0, measure_kl=False).beside == {}


@pytest.mark.parametrize("options", [{"kl": 0.0, "kl_target": 3.0}, {"lam": 1.5}, {"clip": 0.0}, {"rewards": [3]}])
def test_refusals(options: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        Ppo(**options)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_a_tempered_policy_is_that_of_divided_logits(temperature: float) -> None:
    torch.manual_seed(0)
    logits = torch.randn(sum(lengths()), 300, dtype=torch.float64, requires_grad=True)
    objective = Ppo(temperature=temperature, entropy_bonus=0.1)
    batch = objective.collate(examples(names=NAMES))
    assert isinstance(objective.want.token_fn, Tempered)
    values = torch.cat([objective.want.token_fn(logits[rows], rows, batch) for rows in (slice(0, 7), slice(7, 15))])
    found = said(Outputs(values=values))
    p = (logits / temperature).softmax(-1)
    picked = p[torch.arange(len(p)), batch.readout.labels]
    torch.testing.assert_close(found.logprob, picked.log())
    torch.testing.assert_close(found.entropy, -(p * p.log()).sum(-1))
    (gradient,) = torch.autograd.grad(found.entropy.sum(), logits)
    assert gradient.abs().max() > 0


def test_an_entropy_bonus_raises_entropy() -> None:
    rows = examples(names=NAMES)
    objective = Ppo(entropy_bonus=0.2)
    values = torch.zeros(sum(lengths()), 2, requires_grad=True)
    outputs = Outputs(values=values, value=torch.zeros(sum(lengths())))
    (term,) = [one for one in objective.loss(outputs, objective.collate(rows)) if one.name == "entropy"]
    (gradient,) = torch.autograd.grad(term.weight * term.values.sum(), values)
    torch.testing.assert_close(gradient[:, 1], torch.full((sum(lengths()),), -0.2))
