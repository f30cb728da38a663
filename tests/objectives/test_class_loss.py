"""Losses over class scores: by hand, against slow float64 sums, and where scores are extreme."""

from __future__ import annotations

import math

import pytest
import torch

from tunesmith.objectives.class_loss import binary_cross_entropy, cross_entropy


def test_one_class_by_hand() -> None:
    """p = (1/4, 3/4): −log 3/4; smoothed by 0.2: −0.9 log 3/4 − 0.1 log 1/4."""
    scores = torch.tensor([[0.0, math.log(3.0)]])
    assert float(cross_entropy(scores, torch.tensor([1]))) == pytest.approx(math.log(4 / 3), rel=1e-6)
    smoothed = float(cross_entropy(scores, torch.tensor([1]), smoothing=0.2))
    assert smoothed == pytest.approx(0.9 * math.log(4 / 3) + 0.1 * math.log(4), rel=1e-6)


def test_several_classes_by_hand() -> None:
    """σ = (3/4, 1/2), the first present: (log 4/3 + log 2) / 2; weight 3 for it: (3 log 4/3 + log 2) / 2."""
    scores, present = torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([[1.0, 0.0]])
    plain = float(binary_cross_entropy(scores, present))
    assert plain == pytest.approx((math.log(4 / 3) + math.log(2)) / 2, rel=1e-6)
    heavy = float(binary_cross_entropy(scores, present, weights=torch.tensor([3.0, 7.0])))
    assert heavy == pytest.approx((3 * math.log(4 / 3) + math.log(2)) / 2, rel=1e-6)
    # smoothing 0.2 makes the wanted shares 0.9 and 0.1
    smoothed = float(binary_cross_entropy(scores, present, smoothing=0.2))
    wanted = 0.9 * math.log(4 / 3) + 0.1 * math.log(4) + 0.1 * math.log(2) + 0.9 * math.log(2)
    assert smoothed == pytest.approx(wanted / 2, rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.15])
def test_one_class_value_and_gradient_are_the_slow_sum(smoothing: float) -> None:
    """d ℓ / d z_c = p_c − q_c, in float64."""
    scores = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.tensor([0, 4, 2, 2, 1, 3])
    values = cross_entropy(scores, labels, smoothing=smoothing)
    values.sum().backward()
    for row, label in enumerate(labels.tolist()):
        whole = sum(math.exp(z) for z in scores.detach()[row].tolist())
        share = [(1 - smoothing) * (c == label) + smoothing / 5 for c in range(5)]
        p = [math.exp(z) / whole for z in scores.detach()[row].tolist()]
        assert float(values.detach()[row]) == pytest.approx(
            -sum(q * math.log(x) for q, x in zip(share, p, strict=True))
        )
        slope = [x - q for q, x in zip(share, p, strict=True)]
        assert scores.grad is not None
        assert scores.grad[row].tolist() == pytest.approx(slope, abs=1e-14)


@pytest.mark.parametrize("smoothing", [0.0, 0.15])
def test_several_classes_value_and_gradient_are_the_slow_sum(smoothing: float) -> None:
    scores = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    present = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]]).double()
    weights = torch.tensor([1.0, 2.0, 0.5])
    values = binary_cross_entropy(scores, present, weights=weights, smoothing=smoothing)
    values.sum().backward()
    assert scores.grad is not None
    for row in range(4):
        total = 0.0
        for c in range(3):
            s = 1 / (1 + math.exp(-float(scores.detach()[row, c])))
            q = float(present[row, c]) * (1 - smoothing) + smoothing / 2
            v = float(weights[c])
            total -= v * q * math.log(s) + (1 - q) * math.log(1 - s)
            assert float(scores.grad[row, c]) == pytest.approx(((1 - q) * s - v * q * (1 - s)) / 3, abs=1e-14)
        assert float(values.detach()[row]) == pytest.approx(total / 3)


def test_extreme_scores_stay_finite() -> None:
    scores = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    one = cross_entropy(scores, torch.tensor([0, 0]))
    assert one.tolist() == [0.0, 2e4]
    several = binary_cross_entropy(scores, torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    assert several.tolist() == [0.0, 1e4]
    (one.sum() + several.sum()).backward()
    assert scores.grad is not None
    assert bool(scores.grad.isfinite().all())
