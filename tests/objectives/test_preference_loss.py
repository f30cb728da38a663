"""Losses of pairs: by hand, against slow float64 sums and differences, at the edges, and beside TRL's own."""

from __future__ import annotations

import math
from collections import defaultdict
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from reference import preference as slow
from tunesmith.objectives.preference_loss import LOSSES, compared, log_odds

DIVERGENCES = ("reverse-kl", "forward-kl", "jensen-shannon", "alpha")
OF_DIFFERENCE = ("sigmoid", "robust", "hinge", "ipo", "exo", "discopop")
CHOSEN = [0.7, -3.0, 2.5, 0.0, -0.4, 12.0]
REJECTED = [-0.2, 1.0, 2.5, 0.0, 3.0, -9.0]
L3 = math.log(3.0)


def double(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def value(name: str, chosen: float, rejected: float, **options: Any) -> float:
    pair = compared(double([chosen]), double([rejected]), **options)
    return float(LOSSES[name](pair))


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("sigmoid", math.log(4 / 3)),
        ("robust", (0.8 * math.log(4 / 3) - 0.2 * math.log(4)) / 0.6),
        ("hinge", 0.0),
        ("ipo", (L3 / 0.5 - 1.0) ** 2),
        ("exo", 0.75 * math.log(0.75 / 0.8) + 0.25 * math.log(0.25 / 0.2)),
        ("nca", math.log(4 / 3) + 0.5 * math.log(4) + 0.5 * math.log(2)),
        ("sppo", (L3 / 0.5 - 1.0) ** 2 + 1.0),
        ("apo-zero", 1 / 4 + 1 / 2),
        ("apo-down", 3 / 4 + 1 / 4),
    ],
)
def test_by_hand(name: str, wanted: float) -> None:
    """β = ½, h_w = 2 log 3, h_l = 0: u_w = δ = log 3, σ(δ) = 3/4. Smoothing 1/5 for those that are made of it."""
    smoothing = 0.2 if name in ("robust", "exo") else 0.0
    got = value(name, 2 * L3, 0.0, beta=0.5, smoothing=smoothing)
    assert got == pytest.approx(wanted, rel=1e-12)


def test_hinge_by_hand() -> None:
    """δ = ¼: 3/4 is left of the margin of 1."""
    assert value("hinge", 0.5, 0.0, beta=0.5) == pytest.approx(0.75)


def test_conservative_dpo_and_discopop_by_hand() -> None:
    """cDPO, ε = 1/5: 0.8 log 4/3 + 0.2 log 4. DiscoPOP at δ = 0: half log 2, half 1."""
    assert value("sigmoid", 2 * L3, 0.0, beta=0.5, smoothing=0.2) == pytest.approx(
        0.8 * math.log(4 / 3) + 0.2 * math.log(4)
    )
    assert value("discopop", 1.0, 1.0, beta=0.5) == pytest.approx(0.5 * math.log(2) + 0.5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_are_the_slow_ones(name: str, smoothing: float) -> None:
    chosen, rejected = (double(values).requires_grad_() for values in (CHOSEN, REJECTED))
    LOSSES[name](compared(chosen, rejected, beta=0.3, smoothing=smoothing)).sum().backward()
    values = LOSSES[name](compared(chosen, rejected, beta=0.3, smoothing=smoothing)).tolist()
    assert chosen.grad is not None
    assert rejected.grad is not None
    for at, (won, lost) in enumerate(zip(CHOSEN, REJECTED, strict=True)):
        reference = partial(slow.loss, name, beta=0.3, smoothing=smoothing)
        assert values[at] == pytest.approx(reference(won, lost), abs=1e-12)
        by_chosen, by_rejected = slow.gradient(reference, won, lost)
        assert float(chosen.grad[at]) == pytest.approx(by_chosen, abs=1e-7)
        assert float(rejected.grad[at]) == pytest.approx(by_rejected, abs=1e-7)


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("name", OF_DIFFERENCE)
def test_divergences_are_derivatives_of_their_generators(name: str, divergence: Any) -> None:
    for won, lost in ((0.7, -0.2), (-1.0, 0.5), (2.0, 2.0)):
        got = value(name, won, lost, beta=0.3, smoothing=0.1, divergence=divergence, alpha=0.4)
        wanted = slow.loss(name, won, lost, beta=0.3, smoothing=0.1, divergence=divergence, alpha=0.4)
        assert got == pytest.approx(wanted, abs=1e-12)


def test_the_alpha_divergence_lies_between_both_directions() -> None:
    near_reverse = value("sigmoid", 0.7, -0.2, beta=0.3, divergence="alpha", alpha=1e-9)
    assert near_reverse == pytest.approx(value("sigmoid", 0.7, -0.2, beta=0.3), rel=1e-6)
    near_forward = value("sigmoid", 0.7, -0.2, beta=0.3, divergence="alpha", alpha=1 - 1e-12)
    assert near_forward == pytest.approx(value("sigmoid", 0.7, -0.2, beta=0.3, divergence="forward-kl"), rel=1e-9)


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("name", LOSSES)
def test_far_apart_log_ratios_stay_finite(name: str, divergence: Any) -> None:
    chosen = torch.tensor([500.0, -500.0, 500.0, 0.0], requires_grad=True)
    rejected = torch.tensor([-500.0, 500.0, 500.0, 0.0], requires_grad=True)
    values = LOSSES[name](compared(chosen, rejected, beta=0.1, divergence=divergence))
    values.sum().backward()
    assert bool(values.isfinite().all())
    for side in (chosen, rejected):
        assert side.grad is not None
        assert bool(side.grad.isfinite().all())


def test_log_odds_by_hand_and_near_certainty() -> None:
    """p = ½: 0. p = 3/4: log 3. Where p rounds to 1 the odds are large, not infinite, and so is their slope."""
    p = double([0.5, 0.75, 1e-6])
    assert log_odds(p.log()).tolist() == pytest.approx([0.0, L3, math.log(1e-6 / (1 - 1e-6))], abs=1e-9)
    sure = torch.tensor([-1e-9, -1e-30, 0.0, -50.0, -math.log(2.0)], requires_grad=True)
    log_odds(sure).sum().backward()
    assert sure.grad is not None
    assert bool(log_odds(sure).isfinite().all())
    assert bool(sure.grad.isfinite().all())


TRL_NAMES = {"exo": "exo_pair", "nca": "nca_pair", "sppo": "sppo_hard", "apo-zero": "apo_zero", "apo-down": "apo_down"}
TRL_DIVERGENCES = {"reverse-kl": "reverse_kl", "forward-kl": "forward_kl", "jensen-shannon": "js_divergence"}


def trl_loss(name: str, chosen: list[float], rejected: list[float], **options: Any) -> float:
    """TRL's own loss of answers of two tokens, whose policy gives all of the log-ratio and whose reference is 0."""
    trainer = pytest.importorskip("trl.trainer.dpo_trainer", reason="needs the `peers` extra").DPOTrainer
    ratios = torch.tensor([*chosen, *rejected])
    count = len(ratios)
    said = SimpleNamespace(
        log_probs=torch.stack([torch.zeros(count), ratios / 2, ratios / 2], dim=1),
        entropy=torch.zeros(count, 3),
        mean_logits=torch.zeros(count, 3),
        is_top1=torch.zeros(count, 3, dtype=torch.bool),
    )

    class Model:
        training = True

        def __call__(self, **_: Any) -> Any:
            return said

    same = lambda values: values  # noqa: E731
    self = SimpleNamespace(
        model=Model(),
        accelerator=SimpleNamespace(device="cpu", gather_for_metrics=same, gather=same),
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type=TRL_DIVERGENCES.get(options.get("divergence", "reverse-kl"), "alpha_divergence"),
        f_alpha_divergence_coef=1.0 - options.get("alpha", 0.5),
        loss_types=[TRL_NAMES.get(name, name)],
        loss_weights=[1.0],
        beta=options["beta"],
        label_smoothing=max(options["smoothing"], 1e-3 if name == "exo" else 0.0),
        use_weighting=False,
        args=SimpleNamespace(discopop_tau=0.05),
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
    )
    inputs = {
        "input_ids": torch.zeros(count, 4).long(),
        "attention_mask": torch.ones(count, 4).long(),
        "completion_mask": torch.tensor([[0, 0, 1, 1]] * count),
        "ref_chosen_logps": torch.zeros(count // 2),
        "ref_rejected_logps": torch.zeros(count // 2),
    }
    return float(trainer._compute_loss(self, self.model, inputs, return_outputs=False))


@pytest.mark.peer
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("name", LOSSES)
def test_trl_gives_the_same(name: str, smoothing: float) -> None:
    """IPO divides by the tokens of answers there: two, so its log-ratios are halved here."""
    if smoothing and name == "sigmoid":
        pytest.skip("TRL 1.16 has no label smoothing for the sigmoid loss")
    divide = 2.0 if name == "ipo" else 1.0
    chosen, rejected = (torch.tensor(values) / divide for values in (CHOSEN, REJECTED))
    ours = LOSSES[name](compared(chosen, rejected, beta=0.3, smoothing=smoothing)).mean()
    assert float(ours) == pytest.approx(trl_loss(name, CHOSEN, REJECTED, beta=0.3, smoothing=smoothing), rel=1e-5)


@pytest.mark.peer
def test_trl_normalises_by_length_and_imitates_the_same() -> None:
    """Answers of two tokens: log-ratios are halved; imitation is the mean over all chosen tokens."""
    chosen, rejected = (torch.tensor(values) / 2 for values in (CHOSEN, REJECTED))
    ours = LOSSES["sigmoid"](compared(chosen, rejected, beta=0.3)).mean()
    options = {"beta": 0.3, "smoothing": 0.0}
    assert float(ours) == pytest.approx(trl_loss("sigmoid_norm", CHOSEN, REJECTED, **options), rel=1e-5)
    assert -float(chosen.mean()) == pytest.approx(trl_loss("sft", CHOSEN, REJECTED, **options), rel=1e-5)


@pytest.mark.peer
@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_trl_has_the_same_divergences(divergence: Any) -> None:
    options: dict[str, Any] = {"beta": 0.3, "smoothing": 0.0, "divergence": divergence, "alpha": 0.4}
    ours = LOSSES["sigmoid"](compared(torch.tensor(CHOSEN), torch.tensor(REJECTED), **options)).mean()
    assert float(ours) == pytest.approx(trl_loss("sigmoid", CHOSEN, REJECTED, **options), rel=1e-5)
