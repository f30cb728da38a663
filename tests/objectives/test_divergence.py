"""Divergences of two distributions: closed forms, limits, gradients, and TRL's on equal logits."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch

from tunesmith.objectives.divergence import Divergence, divergence, kl

KINDS = get_args(Divergence)


def logs(*probabilities: float) -> torch.Tensor:
    return torch.tensor([probabilities], dtype=torch.float64).log()


def drawn(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    p, q = (torch.randn(5, 11, generator=generator, dtype=torch.float64).mul(2) for _ in range(2))
    return p.log_softmax(-1), q.log_softmax(-1)


P, Q = (0.5, 0.5), (0.25, 0.75)
FORWARD = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
REVERSE = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)


def test_two_events_by_hand() -> None:
    """p = (1/2, 1/2), q = (1/4, 3/4); β = 1/2: m = (3/8, 5/8); skew 0.2: 0.2 p + 0.8 q = (0.3, 0.7)."""
    apart = {kind: float(divergence(logs(*P), logs(*Q), kind=kind, skew=0.2)) for kind in KINDS}
    assert apart["forward"] == pytest.approx(FORWARD)
    assert apart["reverse"] == pytest.approx(REVERSE)
    left = 0.5 * math.log(0.5 / 0.375) + 0.5 * math.log(0.5 / 0.625)
    right = 0.25 * math.log(0.25 / 0.375) + 0.75 * math.log(0.75 / 0.625)
    assert apart["js"] == pytest.approx((left + right) / 2)
    assert apart["skew"] == pytest.approx(0.5 * math.log(0.5 / 0.3) + 0.5 * math.log(0.5 / 0.7))
    # 0.8 p + 0.2 q = (0.45, 0.55)
    assert apart["skew-reverse"] == pytest.approx(0.25 * math.log(0.25 / 0.45) + 0.75 * math.log(0.75 / 0.55))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_between_equal_distributions(kind: Divergence) -> None:
    p, q = drawn()
    assert float(divergence(p, p, kind=kind).abs().max()) < 1e-12
    assert float(divergence(p, q, kind=kind).min()) > 0


def test_limits() -> None:
    """A skew near 0 is the plain divergence; β near 0 or 1, over that, is forward or reverse (GKD, section 3)."""
    p, q = drawn()
    assert torch.allclose(divergence(p, q, kind="skew", skew=1e-9), kl(p, q), atol=1e-6)
    assert torch.allclose(divergence(p, q, kind="skew-reverse", skew=1e-9), kl(q, p), atol=1e-6)
    assert torch.allclose(divergence(p, q, kind="js", beta=1e-6) / 1e-6, kl(p, q), rtol=1e-3)
    assert torch.allclose(divergence(p, q, kind="js", beta=1 - 1e-6) / 1e-6, kl(q, p), rtol=1e-3)
    assert float(divergence(p, q, kind="js").max()) < math.log(2)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_with_respect_to_logits(kind: Divergence) -> None:
    p, _ = drawn()
    logits = torch.randn(5, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: divergence(p, z.log_softmax(-1), kind=kind, beta=0.3), (logits,))


def test_the_gradient_of_the_forward_one_is_the_difference() -> None:
    """d KL(p ‖ softmax z) / dz = q − p."""
    p, _ = drawn()
    logits = torch.randn(5, 11, dtype=torch.float64).requires_grad_()
    divergence(p, logits.log_softmax(-1), kind="forward").sum().backward()
    assert logits.grad is not None
    assert torch.allclose(logits.grad, logits.detach().softmax(-1) - p.exp(), atol=1e-12)


@pytest.mark.parametrize("kind", ["forward", "js", "skew", "skew-reverse"])
def test_events_that_the_teacher_never_says(kind: Divergence) -> None:
    """No −inf reaches a value or a gradient; (1/2, 1/2, 0) against thirds by hand for the forward one."""
    logits = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    apart = divergence(logs(0.5, 0.5, 0.0), logits.log_softmax(-1), kind=kind)
    apart.sum().backward()
    assert math.isfinite(float(apart.detach()))
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())
    if kind == "forward":
        assert float(apart.detach()) == pytest.approx(math.log(1.5))


@pytest.mark.peer
@pytest.mark.parametrize(("beta", "temperature"), [(0.5, 1.0), (0.1, 2.0), (0.9, 0.7)])
def test_trl_says_the_same(beta: float, temperature: float) -> None:
    """Equation 1 of GKD on equal logits, with temperature."""
    gkd = pytest.importorskip("trl.experimental.gkd.gkd_trainer")
    generator = torch.Generator().manual_seed(1)
    student, teacher = (torch.randn(1, 6, 9, generator=generator) for _ in range(2))
    theirs = gkd.GKDTrainer.generalized_jsd_loss(student, teacher, beta=beta, temperature=temperature, reduction="none")
    ours = divergence(
        (teacher[0] / temperature).log_softmax(-1), (student[0] / temperature).log_softmax(-1), kind="js", beta=beta
    )
    assert torch.allclose(theirs[0].sum(-1) if theirs.ndim == 3 else theirs, ours, atol=1e-6)


@pytest.mark.peer
@pytest.mark.parametrize(("kind", "beta"), [("forward", 0.0), ("reverse", 1.0), ("js", 0.3)])
@pytest.mark.parametrize("trainer", ["gkd", "distillation"])
def test_trl_trains_on_the_same(trainer: str, kind: Any, beta: float) -> None:
    """Values and gradients of the losses of both of its trainers; it has no factor T²."""
    generator = torch.Generator().manual_seed(2)
    student, teacher = (torch.randn(6, 9, generator=generator).requires_grad_() for _ in range(2))
    heat = 1.7
    logs = ((one / heat).log_softmax(-1) for one in (teacher, student))
    ours = divergence(*logs, kind=kind, beta=beta if kind == "js" else 0.5).mean()
    if trainer == "gkd":
        module: Any = pytest.importorskip("trl.experimental.gkd.gkd_trainer", reason="needs the `peers` extra")
        jsd = module.GKDTrainer.generalized_jsd_loss
        theirs = jsd(student[None], teacher[None], beta=beta, temperature=heat, reduction="none")
        theirs = (theirs.sum(-1) if theirs.ndim == 3 else theirs).mean()
    else:
        module = pytest.importorskip("trl.trainer.distillation_trainer", reason="needs the `peers` extra")
        eye, mask = torch.eye(9), torch.ones(1, 6)
        loss = module._chunked_divergence_loss
        theirs, *_ = loss(student[None], teacher[None], eye, eye, mask, beta, temperature=heat)
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), rel=1e-5)
    (mine,) = torch.autograd.grad(ours, student)
    (other,) = torch.autograd.grad(theirs, student)
    torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-7)
