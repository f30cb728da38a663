"""Surrogates, corrections, value loss and divergence against numbers by hand."""

from __future__ import annotations

import math

import pytest
import torch

from tunesmith.objectives.kl import divergence
from tunesmith.objectives.policy_loss import Clip, clipped_value_loss, correction, surrogate

OLD = torch.zeros(4, dtype=torch.float64)
UNIT = torch.tensor([0, 0, 1, 1])


def run(
    kind: str, ratios: list[float], advantage: list[float], clip: Clip
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Losses, clipped marks, and gradients with respect to log-probabilities, of tokens with these ratios."""
    logprob = torch.tensor(ratios, dtype=torch.float64).log().requires_grad_(True)
    weights = torch.tensor(advantage, dtype=torch.float64)
    found = surrogate(kind, logprob, old=OLD, advantage=weights, unit=UNIT, sequences=2, clip=clip)  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(found.values.sum(), logprob)
    return found.values.detach(), found.clipped, gradient


def test_token_ratios_by_hand() -> None:
    """Ratios 1.5, 0.5 with A = 1, −1 and clip 0.2: min(1.5, 1.2) = 1.2 is clipped, min(0.5, 0.8) is not; for A = −1
    min(−1.5, −1.2) is not, min(−0.5, −0.8) = −0.8 is. A clipped token has no gradient, another one −r A."""
    values, clipped, gradient = run("token", [1.5, 0.5, 1.5, 0.5], [1, 1, -1, -1], Clip(0.2, 0.2))
    torch.testing.assert_close(values, torch.tensor([-1.2, -0.5, 1.5, 0.8]).double())
    assert clipped.tolist() == [1, 0, 0, 1]
    torch.testing.assert_close(gradient, torch.tensor([0, -0.5, 1.5, 0]).double())


def test_clip_higher_lets_an_unlikely_token_grow() -> None:
    values, clipped, _ = run("token", [1.25, 1.25, 0.75, 0.75], [1, 1, -1, -1], Clip(0.2, 0.28))
    torch.testing.assert_close(values, torch.tensor([-1.25, -1.25, 0.8, 0.8]).double())
    assert clipped.tolist() == [0, 0, 1, 1]


def test_sequence_ratios_by_hand() -> None:
    """Two tokens of ratios 4 and 1 have the sequence ratio 2; clipped at 1.5 where A > 0."""
    values, clipped, gradient = run("sequence", [4, 1, 4, 1], [1, 1, -1, -1], Clip(0.5, 0.5))
    torch.testing.assert_close(values, torch.tensor([-1.5, -1.5, 2.0, 2.0]).double())
    assert clipped.tolist() == [1, 1, 0, 0]
    torch.testing.assert_close(gradient, torch.tensor([0, 0, 2.0, 2.0]).double())  # d(2·s)/dlog r = 2·s/2


def test_clipped_weights_keep_their_gradient() -> None:
    """−min(r, 3) A log r: at r = 6 the gradient is −3 A, where ``min`` would have none."""
    values, clipped, gradient = run("clipped-weight", [6, 2, 6, 0.1], [1, 1, -1, -1], Clip(None, 2.0))
    torch.testing.assert_close(gradient, torch.tensor([-3, -2, 3, 0.1]).double())
    torch.testing.assert_close(values[0], torch.tensor(-3 * math.log(6)).double())
    assert clipped.tolist() == [1, 0, 1, 0]


def test_reinforce_weighs_by_the_advantage_alone() -> None:
    _, _, gradient = run("none", [6, 2, 6, 0.1], [1, 2, -3, 0], Clip())
    torch.testing.assert_close(gradient, torch.tensor([-1, -2, 3, 0]).double())


@pytest.mark.parametrize("kind", ["token", "sequence", "clipped-weight", "none"])
def test_all_ratios_have_one_gradient_on_the_policy_itself(kind: str) -> None:
    """Where nothing has changed yet every kind is the plain policy gradient (a sequence's spread over its tokens)."""
    _, _, gradient = run(kind, [1, 1, 1, 1], [2, 2, -1, -1], Clip(0.2, 0.2))
    torch.testing.assert_close(gradient, torch.tensor([-2, -2, 1, 1]).double())


def test_corrections() -> None:
    old, sampled = torch.log(torch.tensor([0.6, 0.1, 0.2, 0.3])), torch.log(torch.tensor([0.1, 0.2, 0.1, 0.3]))
    cut = correction("truncate", old, sampled, cap=3.0)
    masked = correction("mask", old, sampled, cap=3.0)
    assert cut is not None and masked is not None
    torch.testing.assert_close(cut, torch.tensor([3.0, 0.5, 2.0, 1.0]))
    torch.testing.assert_close(masked, torch.tensor([0.0, 0.5, 2.0, 1.0]))
    assert correction("none", old, sampled, cap=3.0) is None
    far = correction("mask", torch.tensor([-4.0]), torch.tensor([-1.0]), cap=3.0)
    assert far is not None and far.item() == 0.0  # a token the trainer finds far less likely weighs nothing either


def test_value_loss_by_hand() -> None:
    """Old 0, target 1: from 0.5 on a clip of 0.2 holds the value at 0.2, whose error is larger and has no gradient."""
    value = torch.tensor([0.5, 0.1, -3.0], dtype=torch.float64, requires_grad=True)
    old, target = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    loss = clipped_value_loss(value, old=old, target=target, clip=0.2)
    torch.testing.assert_close(loss.detach(), torch.tensor([0.32, 0.405, 8.0]).double())
    (gradient,) = torch.autograd.grad(loss.sum(), value)
    torch.testing.assert_close(gradient, torch.tensor([0.0, -0.9, -4.0]).double())
    plain = clipped_value_loss(value, old=old, target=target, clip=None)
    torch.testing.assert_close(plain.detach(), torch.tensor([0.125, 0.405, 8.0]).double())


def test_divergence_by_hand() -> None:
    """d = log 2: k1 = 0.693, k2 = 0.240, k3 = 1/2 − 1 + 0.693."""
    logprob, reference = torch.tensor([math.log(0.5)]), torch.tensor([math.log(0.25)])
    for kind, wanted in (("k1", math.log(2)), ("k2", math.log(2) ** 2 / 2), ("k3", math.log(2) - 0.5)):
        assert divergence(kind, logprob, reference).item() == pytest.approx(wanted, rel=1e-6)  # type: ignore[arg-type]


def test_estimators_are_the_divergence_on_average() -> None:
    """Over all tokens by their probability k1 and k3 are KL(π ‖ π_ref) exactly; and the mean gradient of k2 is that of
    the divergence, while k1's is 0 (Tang and Munos 2025)."""
    torch.manual_seed(0)
    scores = torch.randn(6, dtype=torch.float64, requires_grad=True)
    reference = torch.randn(6, dtype=torch.float64).log_softmax(0)
    logprob = scores.log_softmax(0)
    p = logprob.exp()
    exact = (p * (logprob - reference)).sum()
    (wanted,) = torch.autograd.grad(exact, scores, retain_graph=True)
    for kind in ("k1", "k3"):
        assert (p * divergence(kind, logprob, reference)).sum().item() == pytest.approx(exact.item())  # type: ignore[arg-type]
    weighted = {kind: (p.detach() * divergence(kind, logprob, reference)).sum() for kind in ("k1", "k2")}  # type: ignore[arg-type]
    (zero,) = torch.autograd.grad(weighted["k1"], scores, retain_graph=True)
    torch.testing.assert_close(zero, torch.zeros_like(zero), atol=1e-12, rtol=0)
    (found,) = torch.autograd.grad(weighted["k2"], scores)
    torch.testing.assert_close(found, wanted)
